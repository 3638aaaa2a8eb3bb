package outgoing

import (
	"bytes"
	"io"

	"mailwhy/relay"
)

// Leaving is one message as it would leave.
type Leaving struct {
	Upstream string   `json:"upstream"`
	From     string   `json:"from"` // envelope sender
	To       []To     `json:"to"`
	Rules    []string `json:"rules,omitempty"` // that match
	Changed  []string `json:"changed,omitempty"`
	Content  string   `json:"content"`
}

// To is a recipient, and those that the application gave, where it stands in their place.
type To struct {
	Address string   `json:"address"`
	Given   []string `json:"given,omitempty"`
}

// Preview says what would leave of an accepted mail with its recipients: one message for each upstream, and
// for those recipients whose mail is changed alike. upstream names that of a recipient. It is not converted,
// since only an upstream says what it takes.
func (o *Outgoing) Preview(m *relay.Message, content []byte, upstream func(recipient int) string) (
	list []Leaving, err error) {
	var groups []*relay.Transaction
	for i := range m.Recipients {
		group := -1
		for j, t := range groups {
			if t.Message.Lane == upstream(i) && o.Alike(m, t.Recipients[0], i) {
				group = j
			}
		}
		if group < 0 {
			one := *m
			one.Lane = upstream(i)
			group = len(groups)
			groups = append(groups, &relay.Transaction{Message: &one, From: m.Envelope.From,
				Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }})
		}
		groups[group].Recipients = append(groups[group].Recipients, i)
	}
	for _, t := range groups {
		one, err := o.leaving(t)
		if err != nil {
			return nil, err
		}
		one.Changed = append(append([]string(nil), m.Changed...), one.Changed...)
		list = append(list, one)
	}
	return list, nil
}

// leaving is a transaction as it would leave.
func (o *Outgoing) leaving(t *relay.Transaction) (Leaving, error) {
	if sender := o.Sender(t); sender != "" {
		t.From = sender
	}
	o.Prepare(t, func() (c relay.Capabilities, known bool) { return c, false })
	content, err := t.Open()
	if err != nil {
		return Leaving{}, err
	}
	defer content.Close()
	b, err := io.ReadAll(content)
	l := Leaving{Upstream: t.Message.Lane, From: t.From, Rules: o.Rules(t), Changed: t.Changed,
		Content: string(b)}
	for _, i := range t.Recipients {
		r := &t.Message.Recipients[i]
		l.To = append(l.To, To{r.Address, r.Given})
	}
	return l, err
}
