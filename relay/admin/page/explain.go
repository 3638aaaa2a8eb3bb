package page

import (
	"net/http"
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// explainMost is the longest reply that is explained, bytes.
const explainMost = 64 << 10

// explainData is what the form and its answer show.
type explainData struct {
	Reply     string
	Stage     diagnose.Stage
	Final     bool
	Stages    []diagnose.Stage
	Code      int
	Enhanced  string
	Text      string
	Diagnosis *diagnose.Diagnosis
	Fault     string
}

// explain shows the diagnosis of a reply that was pasted. It changes nothing: the form is sent by POST only
// to keep replies out of addresses and logs.
func (s *site) explain(r *http.Request) (view, error) {
	d := explainData{Stages: diagnose.Stages()}
	if r.Method == http.MethodPost {
		d.Reply, d.Final = r.PostForm.Get("reply"), r.PostForm.Get("final") != ""
		d.Stage = diagnose.Stage(r.PostForm.Get("stage"))
		s.diagnose(&d)
	}
	return view{template: "explain", Title: "Explain", Data: d}, nil
}

// diagnose fills in the answer.
func (s *site) diagnose(d *explainData) {
	switch {
	case strings.TrimSpace(d.Reply) == "":
		d.Fault = "Paste what the server said."
		return
	case len(d.Reply) > explainMost:
		d.Fault = "That is more than 64 kB. Paste the reply alone."
		return
	case d.Stage != "" && !slices.Contains(d.Stages, d.Stage):
		d.Fault = "That is not a stage of the exchange."
		return
	}
	symptom := diagnose.Symptom{Stage: d.Stage, Final: d.Final, Reply: diagnose.ParseReply(d.Reply)}
	if symptom.Reply.Code == 0 {
		symptom.Reply, symptom.Text = diagnose.Reply{}, d.Reply // words without a code
	}
	found := s.o.Diagnose(symptom)
	d.Diagnosis, d.Code, d.Text = &found, symptom.Reply.Code, symptom.Reply.Text
	d.Enhanced = symptom.Reply.Enhanced.String()
}

// section is a section of the configuration.
type section struct {
	Name     string
	Settings []Setting
}

// configuration shows what is in force and from where.
func (s *site) configuration(r *http.Request) (view, error) {
	var sections []section
	only := r.URL.Query().Get("changed") != ""
	for _, set := range s.o.Configuration() {
		if only && set.Origin == "" {
			continue
		}
		if n := len(sections); n == 0 || sections[n-1].Name != set.Section {
			sections = append(sections, section{Name: set.Section})
		}
		last := &sections[len(sections)-1]
		last.Settings = append(last.Settings, set)
	}
	return view{template: "configuration", Title: "Configuration", Data: struct {
		Sections []section
		Changed  bool
	}{sections, only}}, nil
}
