package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// speaker says things in a language until it lacks a word; after that it is silent.
type speaker struct {
	language
	err error
}

// say fills in the words for a key.
func (s *speaker) say(key string, f facts) string {
	w, ok := s.language[key]
	if !ok && s.err == nil {
		s.err = fmt.Errorf("no words for %q", key)
	}
	if text, ok := w.plain(); ok {
		return text
	}
	var b strings.Builder
	b.Grow(128)
	w.fill(&b, f)
	return b.String()
}

// word is the words for a key that need no facts.
func (s *speaker) word(key string) string { return s.say(key, noFacts) }

// choose is the words for KIND_NAME, "" when there are none.
func (s *speaker) choose(kind, name string) string {
	key := kind + "_" + name
	if _, ok := s.language[key]; !ok {
		return ""
	}
	return s.word(key)
}

// span is a duration in words, in the largest unit of which there are at least two, rounded down.
func (s *speaker) span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return s.say("days", number(int(d.Hours()/24)))
	case d >= 2*time.Hour:
		return s.say("hours", number(int(d.Hours())))
	case d >= 2*time.Minute:
		return s.say("minutes", number(int(d.Minutes())))
	}
	return s.say("seconds", number(int(d.Seconds())))
}

// whom is one recipient's address or, by the words for a key, how many there are.
func (s *speaker) whom(key string, v *View) string {
	if v.Total == 1 {
		return v.Recipients[0].Address
	}
	return s.say(key, number(v.Total))
}

// factsOf are the facts of what a template gives to say.
func (s *speaker) factsOf(data any) facts {
	switch d := data.(type) {
	case *View:
		return s.about(d)
	case *RecipientView:
		return s.aboutRecipient(d)
	case RecipientView:
		return s.aboutRecipient(&d)
	case int:
		return number(d)
	case string:
		return named("id", d)
	}
	return noFacts
}

// about are the facts of a View.
func (s *speaker) about(v *View) facts {
	return func(name string) string {
		switch name {
		case "host":
			return v.Host
		case "whom", "whom_of_it":
			return s.whom(name, v)
		case "categories":
			return strings.Join(v.Categories(), ", ")
		case "waited":
			return s.span(v.Waited)
		case "subject":
			return v.Subject
		case "until":
			return date(v.RetryUntil)
		case "count":
			return strconv.Itoa(v.Count)
		case "file":
			return v.FileName
		case "reporter":
			return v.Reporter
		case "refuser":
			return v.Refuser
		}
		return ""
	}
}

// aboutRecipient are the facts of a RecipientView.
func (s *speaker) aboutRecipient(v *RecipientView) facts {
	return func(name string) string {
		switch name {
		case "n":
			return strconv.Itoa(len(v.Addresses))
		case "category":
			return v.Category
		case "reason":
			return v.Reason
		case "time":
			return date(v.Time)
		case "attempts":
			if v.Attempts > 1 {
				return strconv.Itoa(v.Attempts)
			}
		case "server":
			return v.Server
		case "stage":
			return s.choose("stage", v.Stage)
		}
		return ""
	}
}

// noFacts, number and named are facts of words that need none or one.
func noFacts(string) string { return "" }

func number(n int) facts { return named("n", strconv.Itoa(n)) }

func named(name, value string) facts {
	return func(asked string) string {
		if asked == name {
			return value
		}
		return ""
	}
}

// date is a date and time, "" for the zero time.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(dateLayout)
}
