package page

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// suppressionRows is how many entries are shown.
const suppressionRows = 200

// suppressionsData is what the suppression list shows.
type suppressionsData struct {
	Off     bool
	State   admin.SuppressionState
	Total   int64
	Filter  relay.SuppressionFilter
	Reasons []diagnose.Reason
	Rows    []relay.Suppression
	More    bool
	Now     time.Time
	Faults  []string // of an import
	Done    string
}

// suppressions shows the list.
func (s *site) suppressions(r *http.Request) (view, error) {
	return s.listed(r, "", nil)
}

// listed shows the list, and what was just done to it.
func (s *site) listed(r *http.Request, done string, faults []string) (view, error) {
	q := r.URL.Query()
	d := suppressionsData{Now: s.o.Now(), Done: done, Faults: faults,
		Filter: relay.SuppressionFilter{Address: strings.TrimSpace(q.Get("address")),
			Reason: diagnose.Reason(q.Get("reason")), State: relay.SuppressionState(q.Get("state"))}}
	v := view{template: "suppressions", Title: "Suppressions"}
	var err error
	d.State, err = s.o.Relay.SuppressionState(r.Context())
	if admin.StatusOf(err) == http.StatusConflict {
		d.Off = true // the page says how to turn it on
		v.Data = d
		return v, nil
	}
	if err != nil {
		return v, err
	}
	for _, n := range d.State.Entries {
		d.Total += n
	}
	d.Reasons = slices.Sorted(maps.Keys(d.State.Entries))
	enough := errors.New("enough")
	err = s.o.Relay.Suppressed(r.Context(), d.Filter, func(e relay.Suppression) error {
		if len(d.Rows) == suppressionRows {
			d.More = true
			return enough
		}
		d.Rows = append(d.Rows, e)
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	v.Data = d
	return v, err
}

// suppress adds an address.
func (s *site) suppress(r *http.Request) (view, error) {
	address := strings.TrimSpace(r.PostForm.Get("address"))
	if address == "" {
		return view{}, wrong("No address was given.")
	}
	e := relay.Suppression{Address: address, Note: strings.TrimSpace(r.PostForm.Get("note"))}
	if days := r.PostForm.Get("days"); days != "" {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err != nil || n < 1 || n > 36500 {
			return view{}, wrong(`"%s" is not a number of days.`, Shown(days))
		}
		e.Expires = s.o.Now().Add(time.Duration(n) * 24 * time.Hour)
	}
	results, err := s.o.Relay.Suppress(r.Context(), []relay.Suppression{e})
	if err != nil {
		return view{}, err
	}
	if len(results) == 1 && results[0].Error != "" {
		return view{}, wrong("%s: %s", Shown(address), results[0].Error)
	}
	return view{}, &redirect{"/suppressions?" + url.Values{"address": {address}}.Encode()}
}

// confirmRemove asks whether to remove an address.
func (s *site) confirmRemove(r *http.Request) (view, error) {
	address := r.URL.Query().Get("address")
	d := confirmData{Back: "/suppressions", To: "/suppressions/remove", What: "Remove",
		Fields: []field{{"address", address}},
		About:  "Mail to " + Shown(address) + " is sent again, from all senders."}
	err := s.o.Relay.Suppressed(r.Context(), relay.SuppressionFilter{Address: address},
		func(relay.Suppression) error { d.Count++; return nil })
	if err == nil && d.Count == 0 {
		err = &mistake{http.StatusNotFound, Shown(address) + " is not on the list."}
	}
	return view{template: "confirmother", Title: "Confirm", Data: d}, err
}

// unsuppress removes an address.
func (s *site) unsuppress(r *http.Request) (view, error) {
	address := r.PostForm.Get("address")
	n, err := s.o.Relay.Unsuppress(r.Context(), address, "")
	if err == nil && n == 0 {
		err = &mistake{http.StatusNotFound, Shown(address) + " is not on the list."}
	}
	if err != nil {
		return view{}, err
	}
	return view{}, &redirect{"/suppressions"}
}

// importList adds the addresses of a list.
func (s *site) importList(r *http.Request) (view, error) {
	text := r.PostForm.Get("list")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		if err := r.ParseMultipartForm(maxForm); err != nil {
			return view{}, wrong("The file cannot be read, or is larger than 4 MB: %v", err)
		}
		text = r.PostFormValue("list")
		if f, _, err := r.FormFile("file"); err == nil {
			b, err := io.ReadAll(f)
			f.Close()
			if err != nil {
				return view{}, err
			}
			text += "\n" + string(b)
		}
	}
	if _, err := s.o.Relay.SuppressionState(r.Context()); err != nil {
		return view{}, err
	}
	n, err := s.o.Import(r.Context(), strings.NewReader(strings.TrimLeft(text, "\n")), admin.ImportOptions{})
	if err != nil {
		return view{}, err
	}
	if n.Added+n.Known+n.NotAbout+n.Bad == 0 {
		return view{}, wrong("The list is empty. Choose a file, or write one address per line.")
	}
	done := fmt.Sprintf("%s added, %d were there already, %s not valid.", plural(n.Added, "address"), n.Known,
		plural(n.Bad, "line"))
	if n.NotAbout > 0 {
		done += fmt.Sprintf(" %s left out, since the reply is not about the address; "+
			"mailwhy suppress import --all adds such entries too.", plural(n.NotAbout, "address"))
	}
	var faults []string
	for _, l := range n.Lines[:min(len(n.Lines), 100)] {
		faults = append(faults, fmt.Sprintf("line %d: %s", l.Line, l.Why))
	}
	return s.listed(r, done, faults)
}

// webhooksData is what the webhooks show.
type webhooksData struct {
	List []relay.WebhookState
	Now  time.Time
}

// webhooks shows the applications to which events are sent.
func (s *site) webhooks(r *http.Request) (view, error) {
	list, err := s.o.Relay.Webhooks(r.Context())
	return view{template: "webhooks", Title: "Webhooks", Data: webhooksData{list, s.o.Now()}, Live: true}, err
}

// confirmWebhook asks whether to do something to a webhook.
func (s *site) confirmWebhook(r *http.Request) (view, error) {
	name, action := r.PathValue("name"), r.PathValue("action")
	d := confirmData{Back: "/webhooks", To: "/webhooks/" + url.PathEscape(name) + "/" + action, Count: 1}
	switch action {
	case "test":
		d.What, d.About = "Send a test event", "One test event is sent to "+Shown(name)+"."
	case "enable":
		d.What, d.About = "Enable", "Events that wait for "+Shown(name)+" are sent."
	case "replay":
		d.What = "Send again"
		d.About = "The events since this time are sent to " + Shown(name) +
			" again. It may have received them before."
		d.Fields = []field{{"since", s.o.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04")}}
		return view{template: "confirmreplay", Title: "Confirm", Data: d}, nil
	default:
		return view{}, &mistake{http.StatusNotFound, "There is no such action."}
	}
	return view{template: "confirmother", Title: "Confirm", Data: d}, nil
}

// actOnWebhook does something to a webhook.
func (s *site) actOnWebhook(r *http.Request) (view, error) {
	name, done := r.PathValue("name"), ""
	switch r.PathValue("action") {
	case "test":
		t, err := s.o.Relay.TestWebhook(r.Context(), name)
		if err != nil {
			return view{}, err
		}
		done = fmt.Sprintf("The test event was taken in %s.", lasting(t.Took))
		if !t.OK {
			done = "The test event was not taken: " + Shown(t.Why)
		}
	case "enable":
		if err := s.o.Relay.EnableWebhook(r.Context(), name); err != nil {
			return view{}, err
		}
		done = "It is enabled."
	case "replay":
		since, err := time.Parse("2006-01-02T15:04", r.PostForm.Get("since"))
		if err != nil {
			return view{}, wrong(`"%s" is not a time. Write 2026-11-29T12:00.`,
				Shown(r.PostForm.Get("since")))
		}
		n, err := s.o.Relay.ReplayWebhook(r.Context(), name, since)
		if err != nil {
			return view{}, err
		}
		done = plural(n, "event") + " will be sent again."
	default:
		return view{}, &mistake{http.StatusNotFound, "There is no such action."}
	}
	v, err := s.webhooks(r)
	v.Notice = Shown(name) + ": " + done
	return v, err
}
