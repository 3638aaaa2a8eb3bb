package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/admin"
)

// queueRows is how many messages a page of the queue has, and recipientRows how many recipients of each.
const (
	queueRows     = 50
	recipientRows = 5
)

// queueForm is the filter of the queue as the form and the address have it.
type queueForm struct {
	Sender, Recipient, Category, State, Age string
	After                                   string
	IDs                                     []string
}

// formOf reads a filter.
func formOf(q url.Values) queueForm {
	return queueForm{Sender: strings.TrimSpace(q.Get("sender")), Category: q.Get("category"),
		Recipient: strings.TrimSpace(q.Get("recipient")), State: q.Get("state"),
		Age: strings.TrimSpace(q.Get("age")), After: q.Get("after"), IDs: q["id"]}
}

// Query is the filter as it stands in an address, without where the page begins.
func (f queueForm) Query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"sender": f.Sender, "recipient": f.Recipient,
		"category": f.Category, "state": f.State, "age": f.Age} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(f.IDs) > 0 {
		q["id"] = f.IDs
	}
	return q
}

// filter is the filter as the relay takes it.
func (f queueForm) filter(now time.Time) (relay.QueueFilter, error) {
	out := relay.QueueFilter{Sender: f.Sender, Recipient: f.Recipient, Category: f.Category,
		State: relay.State(f.State), After: f.After, IDs: f.IDs}
	if f.Age != "" {
		age, err := time.ParseDuration(f.Age)
		if err != nil || age < 0 {
			return out, wrong(`"%s" is not an age. Write "30m" or "4h".`, Shown(f.Age))
		}
		out.OlderThan = now.Add(-age)
	}
	for _, id := range append(slices.Clone(f.IDs), f.After) {
		if id != "" && !relay.ValidID(id) {
			return out, wrong(`"%s" is not the id of a message.`, Shown(id))
		}
	}
	if f.State != "" && !slices.Contains(admin.States(), out.State) {
		return out, wrong(`"%s" is not a state of a recipient.`, Shown(f.State))
	}
	return out, nil
}

// queueData is what the queue shows.
type queueData struct {
	Form       queueForm
	States     []relay.State
	Categories []diagnose.Category
	Rows       []messageRow
	Next       string // the query of the next page
	Now        time.Time
	Filtered   bool
}

// messageRow is a message in the list.
type messageRow struct {
	admin.Summary
	More int // recipients that are not shown
}

// categories are those that a diagnosis may have.
func categories() []diagnose.Category {
	return []diagnose.Category{diagnose.Blocked, diagnose.DMARCErrors, diagnose.InvalidAddress,
		diagnose.MailboxIssues, diagnose.MailboxFull, diagnose.RateLimitIssues, diagnose.RecipientError,
		diagnose.RejectionErrors, diagnose.SenderReputation, diagnose.ConnectionFailure}
}

// queue shows what waits.
func (s *site) queue(r *http.Request) (view, error) {
	d := queueData{Form: formOf(r.URL.Query()), States: admin.States(), Categories: categories(),
		Now: s.o.Now()}
	f, err := d.Form.filter(d.Now)
	if err != nil {
		return view{}, err
	}
	d.Filtered = admin.Selects(f)
	f.Limit = queueRows + 1
	err = s.o.Relay.List(r.Context(), f, func(m admin.Summary) error {
		row := messageRow{Summary: m}
		if n := len(m.Recipients); n > recipientRows {
			row.More, row.Recipients = n-recipientRows, m.Recipients[:recipientRows]
		}
		d.Rows = append(d.Rows, row)
		return nil
	})
	if len(d.Rows) > queueRows {
		d.Rows = d.Rows[:queueRows]
		q := d.Form.Query()
		q.Set("after", d.Rows[queueRows-1].ID)
		d.Next = q.Encode()
	}
	return view{template: "queue", Title: "Queue", Data: d, Live: d.Form.After == ""}, err
}

// confirmData is what stands before an action.
type confirmData struct {
	Action   admin.Action
	Fields   []field // what the form carries
	Count    int
	More     bool // there are more than Count
	Samples  []admin.Summary
	Back     string
	To, What string // where the form goes and what its button says, of an action of another kind
	About    string
}

// field is a hidden field.
type field struct{ Name, Value string }

// countMost is how many messages are counted for a confirmation: more than that are told as so many.
const countMost = 10_000

// actionOf reads an action.
func actionOf(q url.Values) (admin.Action, error) {
	a := admin.Action(q.Get("action"))
	if !slices.Contains([]admin.Action{admin.Retry, admin.Hold, admin.Release, admin.Drop}, a) {
		return "", wrong(`"%s" is not an action.`, Shown(string(a)))
	}
	return a, nil
}

// confirm asks whether to carry out an action, and says on how many messages. Only those that are there now
// are meant: what comes meanwhile is left alone.
func (s *site) confirm(r *http.Request) (view, error) {
	q := r.URL.Query()
	a, err := actionOf(q)
	if err != nil {
		return view{}, err
	}
	form := formOf(q)
	form.After = ""
	f, err := form.filter(s.o.Now())
	if err != nil {
		return view{}, err
	}
	d := confirmData{Action: a, Back: "/queue?" + form.Query().Encode()}
	if len(form.IDs) == 0 && q.Get("selection") != "all" {
		return view{}, wrong("No message is selected. Go back and select some, or choose all.")
	}
	if err := s.count(r.Context(), f, &d); err != nil {
		return view{}, err
	}
	if f.OlderThan.IsZero() {
		f.OlderThan = s.o.Now()
	}
	d.Fields = append(d.Fields, field{"action", string(a)},
		field{"older_than", f.OlderThan.UTC().Format(time.RFC3339Nano)})
	for name, values := range form.Query() {
		for _, value := range values {
			d.Fields = append(d.Fields, field{name, value})
		}
	}
	if len(form.IDs) == 1 {
		d.Back = "/message/" + form.IDs[0]
	}
	return view{template: "confirm", Title: "Confirm", Data: d}, nil
}

// count counts the messages that a filter selects, and keeps the first few.
func (s *site) count(ctx context.Context, f relay.QueueFilter, d *confirmData) error {
	enough := errors.New("enough")
	err := s.o.Relay.List(ctx, f, func(m admin.Summary) error {
		if d.Count == countMost {
			d.More = true
			return enough
		}
		if d.Count++; len(d.Samples) < 10 {
			d.Samples = append(d.Samples, m)
		}
		return nil
	})
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// actData is what an action did.
type actData struct {
	Action     admin.Action
	Messages   int // that were changed
	Recipients int
	Unchanged  int
	Failed     []admin.Outcome
	Back       string
}

// act carries out an action that was confirmed.
func (s *site) act(r *http.Request) (view, error) {
	a, err := actionOf(r.PostForm)
	if err != nil {
		return view{}, err
	}
	form := formOf(r.PostForm)
	f, err := form.filter(s.o.Now())
	if err != nil {
		return view{}, err
	}
	if f.OlderThan, err = time.Parse(time.RFC3339Nano, r.PostForm.Get("older_than")); err != nil {
		return view{}, wrong("The form is incomplete: older_than is missing. Go back and confirm again.")
	}
	f.After = ""
	d := actData{Action: a, Back: "/queue?" + form.Query().Encode()}
	err = s.o.Relay.Act(r.Context(), a, f, false, func(o admin.Outcome) error {
		switch {
		case o.Error != "":
			if len(d.Failed) < 100 {
				d.Failed = append(d.Failed, o)
			}
		case o.Recipients > 0:
			d.Messages++
			d.Recipients += o.Recipients
		default:
			d.Unchanged++
		}
		return nil
	})
	if len(form.IDs) == 1 && a != admin.Drop {
		d.Back = "/message/" + form.IDs[0]
	}
	s.o.Log.Info("queue changed over the page", "action", string(a), "messages", strconv.Itoa(d.Messages))
	return view{template: "acted", Title: "Done", Data: d}, err
}
