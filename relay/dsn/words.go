package dsn

import (
	"strconv"

	"mailwhy/relay"
)

// Words are sentences of a report in the language of the templates.
type Words struct {
	Greeting  string // which system this is
	Subject   string
	Lead      string // what happened
	Reference string // the queue id, to be quoted
	Returned  string // how much of the message is attached; not in a digest
	Listed    string // where all messages of a digest are listed; in a digest only
}

// RecipientWords are what there is to say about one recipient. Those that do not apply are empty.
type RecipientWords struct {
	Whom      string // the address, or how many there are
	Outcome   string
	Tried     string // when, and how often
	Server    string // who answered, and to what
	Note      string // a message that may have arrived all the same
	Reason    string // the category and the reason
	Certainty string
	Owner     string // who must act
	Next      string // whether it will be tried again; not in a digest
}

// fillIn puts the words and the rows into v. Templates do not call functions for
// them, since calls take most of their time.
func (l language) fillIn(v *View) error {
	s := &speaker{language: l}
	about := s.about(v)
	v.Words = Words{
		Greeting: s.say("greeting", about), Subject: s.say("subject_"+v.Kind, about),
		Lead:      s.say(v.lead(), about),
		Reference: s.say("quote", named("id", v.QueueID)),
	}
	if v.Kind == kindDigest {
		v.Words.Listed = s.say("listed", about)
		s.fillInDigest(v)
		return s.err
	}
	v.Words.Returned = s.say("returned_"+v.Returned, about)
	if v.TooLarge && v.Returned == returnedHeader {
		v.Words.Returned = s.word("returned_large")
	}
	if v.Reporter != "" && v.Returned == returnedNone {
		v.Words.Returned = s.word("returned_gone")
	}
	v.Rows = s.rows(func(r *rows) {
		r.row("sender", v.Sender)
		r.row("subject", v.Subject)
		r.row("message_id", v.MessageID)
		r.row("accepted", date(v.Arrived))
		r.row("reference", v.Words.Reference)
	})
	for i := range v.Recipients {
		rv := &v.Recipients[i]
		s.fillInRecipient(rv)
		rv.Words.Next = s.say("next_"+rv.Outcome, about)
		rv.Rows = s.rows(rv.report)
	}
	return s.err
}

// lead is the key of the first sentence.
func (v *View) lead() string {
	switch {
	case v.Reporter == "" || v.Kind == string(relay.NoticeRelayed):
		return "lead_" + v.Kind
	case v.Kind == string(relay.NoticeDelayed):
		return "lead_told_delayed"
	case v.Refuser != "":
		return "lead_told_refused"
	}
	return "lead_told"
}

// fillInDigest is fillIn for what a digest has.
func (s *speaker) fillInDigest(v *View) {
	v.Rows = s.rows(func(r *rows) {
		r.row("count", strconv.Itoa(v.Count))
		r.row("first", date(v.First))
		r.row("last", date(v.Last))
	})
	for i := range v.Recipients {
		s.fillInRecipient(&v.Recipients[i])
		v.Recipients[i].Rows = s.rows(v.Recipients[i].diagnosed)
	}
	for i := range v.Samples {
		s.fillInRecipient(&v.Samples[i])
		v.Samples[i].Rows = s.rows(v.Samples[i].sample)
	}
}

// fillInRecipient puts in the words about one recipient.
func (s *speaker) fillInRecipient(v *RecipientView) {
	about := s.aboutRecipient(v)
	v.Words = RecipientWords{Whom: v.Address, Outcome: s.word("outcome_" + v.Outcome)}
	if v.Reporter != "" && len(v.Reply) == 0 && v.Outcome == string(relay.NoticeFailed) {
		v.Words.Outcome = s.word("outcome_told")
	}
	if v.Many {
		v.Words.Whom = s.say("listed_below", about)
	}
	if !v.Time.IsZero() {
		v.Words.Tried = s.say("attempts", about)
	}
	if v.Server != "" && len(v.Reply) > 0 {
		v.Words.Server = s.say("at_server", about)
	}
	switch {
	case v.Uncertain && v.Outcome == string(relay.NoticeDelayed):
		v.Words.Note = s.word("uncertain_delayed")
	case v.Uncertain:
		v.Words.Note = s.word("uncertain")
	}
	if v.Diagnosed {
		v.Words.Reason = s.say("reason", about)
		v.Words.Certainty = s.choose("confidence", v.Confidence)
		v.Words.Owner = s.choose("owner", v.Owner)
	}
}

// rows are the lines that write writes.
func (s *speaker) rows(write func(*rows)) string {
	r := rows{speaker: s}
	r.Grow(1 << 10)
	write(&r)
	return r.String()
}

// report is all about a recipient.
func (v *RecipientView) report(r *rows) {
	if v.Many {
		r.row("recipients", v.Words.Whom)
	} else {
		r.verbatim("recipient", v.Addresses)
	}
	r.row("outcome", v.Words.Outcome)
	v.said(r)
	r.row("server", v.Words.Server)
	r.row("reporter", v.Reporter)
	r.row("tried", v.Words.Tried)
	r.row("note", v.Words.Note)
	v.diagnosed(r)
	r.row("next", v.Words.Next)
	if v.Many {
		r.WriteString("\n" + r.word("recipients") + ":\n")
		for _, address := range v.Addresses {
			r.WriteString("  " + address + "\n")
		}
	}
}

// said is what the other side said, or why it said nothing.
func (v *RecipientView) said(r *rows) {
	switch {
	case len(v.Reply) > 0:
		r.verbatim("reply", v.Reply)
	case v.NoReply != "" && v.Reporter != "":
		r.row("told", v.NoReply)
	case v.NoReply != "":
		r.row("no_reply", v.NoReply)
	case v.Diagnosed && v.Reporter != "":
		r.row("reply", r.word("no_words_told"))
	case v.Diagnosed:
		r.row("reply", r.word("no_words"))
	}
}

// diagnosed is the diagnosis, if there is one.
func (v *RecipientView) diagnosed(r *rows) {
	if !v.Diagnosed {
		return
	}
	r.row("category", v.Words.Reason)
	r.row("meaning", v.Cause)
	r.row("certainty", v.Words.Certainty)
	r.row("owner", v.Words.Owner)
	r.steps("fix", v.Fix)
	for _, e := range v.Evidence {
		r.row("facts", e)
	}
	r.verbatim("links", v.Links)
}

// sample is one failure of a digest.
func (v *RecipientView) sample(r *rows) {
	r.row("recipient", v.Address)
	v.said(r)
	r.row("tried", date(v.Time))
	r.row("reference", v.QueueID)
}
