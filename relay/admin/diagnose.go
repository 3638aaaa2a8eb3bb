package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// maxRefusals is how many are explained in one request.
const maxRefusals = 1000

// Refusal is what POST /v1/diagnose asks about: a reply, or a wording without a code, and what is known
// beside it. Either Reply or Text is required; the other fields may be missing.
type Refusal struct {
	Reply string         `json:"reply,omitempty"` // as the server sent it, all of its lines
	Text  string         `json:"text,omitempty"`  // a wording that carries no code
	Stage diagnose.Stage `json:"stage,omitempty"` // where in the exchange
	Host  string         `json:"host,omitempty"`  // the server that spoke
	Final bool           `json:"final,omitempty"` // the message will not be tried again

	Recipient    string `json:"recipient,omitempty"`     // the address that was refused
	HeaderFrom   string `json:"header_from,omitempty"`   // domain of the From header
	EnvelopeFrom string `json:"envelope_from,omitempty"` // domain of MAIL FROM
	Size         int64  `json:"size,omitempty"`          // of the message, bytes

	// At the stage remote, what the provider that told of it says beside the reply; see diagnose.Facts.
	Provider      string `json:"provider,omitempty"`
	ProviderType  string `json:"provider_type,omitempty"`
	ProviderClass string `json:"provider_class,omitempty"`
}

// Explained is the answer to a Refusal: what was read of it, and its diagnosis; or only Error.
type Explained struct {
	Error    string `json:"error,omitempty"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text,omitempty"`
	*diagnose.Diagnosis
}

// diagnose answers POST /v1/diagnose: an Explained for a Refusal, a list of them for a list, in its order. A
// refusal that cannot be read has its error in its place, and the others are answered all the same.
func (s *Server) diagnose(r *http.Request) (any, error) {
	list, several, err := refusals(r)
	if err != nil {
		return nil, err
	}
	answers := make([]Explained, len(list))
	for i := range list {
		answers[i] = s.explain(&list[i])
	}
	if several {
		return answers, nil
	}
	if answers[0].Error != "" {
		return nil, bad("", "%s", answers[0].Error)
	}
	return answers[0], nil
}

// refusals reads the body of a request: an object, or a list of them.
func refusals(r *http.Request) (list []Refusal, several bool, err error) {
	var body json.RawMessage
	if err := decode(r, &body); err != nil {
		return nil, false, err
	}
	several = bytes.HasPrefix(body, []byte("["))
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if several {
		err = d.Decode(&list)
	} else {
		list = make([]Refusal, 1)
		err = d.Decode(&list[0])
	}
	switch {
	case err != nil:
		err = bad(`send {"reply": "550 5.1.1 user unknown"}, or a list of such`,
			"the body is not the JSON that was expected: %w", err)
	case len(list) > maxRefusals:
		err = bad("ask in several requests", "the list has %d refusals, of at most %d", len(list),
			maxRefusals)
	}
	return list, several, err
}

// explain answers one refusal.
func (s *Server) explain(r *Refusal) Explained {
	symptom, err := r.symptom()
	if err != nil {
		return Explained{Error: err.Error()}
	}
	d := s.o.Diagnose(symptom)
	x := Explained{
		Code: symptom.Reply.Code, Enhanced: symptom.Reply.Enhanced.String(), Text: symptom.Reply.Text,
		Diagnosis: &d,
	}
	if x.Code == 0 {
		x.Text = symptom.Text
	}
	return x
}

// symptom is r as the engine is asked.
func (r *Refusal) symptom() (diagnose.Symptom, error) {
	s := diagnose.Symptom{
		Stage: r.Stage, Text: r.Text, Upstream: r.Host, Final: r.Final,
		Facts: diagnose.Facts{
			Recipient: r.Recipient, HeaderFrom: r.HeaderFrom, EnvelopeFrom: r.EnvelopeFrom, Size: r.Size,
			Provider: r.Provider, ProviderType: r.ProviderType, ProviderClass: r.ProviderClass,
		},
	}
	switch {
	case r.Stage != "" && !slices.Contains(diagnose.Stages(), r.Stage):
		return s, fmt.Errorf("stage %q is not known; use one of %s", r.Stage, stageNames())
	case r.Reply != "" && r.Text != "":
		return s, errors.New("reply and text exclude each other: a reply begins with a code, a text has none")
	case strings.TrimSpace(r.Text) != "",
		r.Reply == "" && r.Stage == diagnose.StageRemote && r.Provider != "":
		return s, nil // a provider's own type says what happened, too
	}
	if s.Reply = diagnose.ParseReply(r.Reply); s.Reply.Code == 0 {
		return s, errors.New("reply holds no reply: it begins with a code from 200 to 799; " +
			"a wording without one is a text")
	}
	return s, nil
}

// stageNames are the names of the stages, for people.
func stageNames() string {
	var names []string
	for _, s := range diagnose.Stages() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
