package rewrite

import (
	"mailwhy/relay"
	"mailwhy/relay/internal/address/pattern"
)

// Sandbox keeps mail away from its recipients. The zero Sandbox is off. The next hop keeps to it a second
// time (relay/upstream/sandbox), for mail that was stored before it was on.
type Sandbox struct {
	On       bool
	Redirect string   // the address that gets all mail; "": the next hop keeps it
	Allow    []string // patterns of the recipients that get their mail all the same
	Subject  string   // in front of the subjects of redirected mail; it may outlive the sandbox in the spool
}

// sandbox is a Sandbox, ready to be applied.
type sandbox struct {
	on      bool
	address string
	allow   *pattern.Set
	subject string
}

func newSandbox(s Sandbox) sandbox {
	return sandbox{on: s.On, address: s.Redirect, allow: pattern.New(s.Allow), subject: s.Subject}
}

// redirects reports whether recipients are replaced.
func (s *sandbox) redirects() bool { return s.on && s.address != "" }

// allows reports whether a recipient may get mail.
func (s *sandbox) allows(address string) bool { return !s.on || s.allow.Has(address) }

// given are the addresses that a recipient has from the application.
func given(r *relay.Recipient) []string {
	if len(r.Given) > 0 {
		return r.Given
	}
	return []string{r.Address}
}

// Allows reports whether the sandbox lets a recipient get mail; "" is the null sender, which none does.
func (w *Rewriter) Allows(address string) bool { return w.sandbox.allows(address) }

// redirect replaces all recipients that are not allowed by one, which remembers them: so they get one copy of
// the mail together.
func (s *sandbox) redirect(m *relay.Message) {
	one := relay.Recipient{Address: s.address, Sandboxed: true}
	kept := make([]relay.Recipient, 0, len(m.Recipients))
	for _, r := range m.Recipients {
		if s.allows(r.Address) {
			kept = append(kept, r)
		} else {
			one.Given = append(one.Given, given(&r)...)
		}
	}
	if len(one.Given) > 0 {
		kept = append(kept, one)
		note(m, "recipients redirected to the sandbox")
	}
	m.Recipients = kept
}
