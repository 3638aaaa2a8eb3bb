package graph_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/smtptest/apitest"
	"mailwhy/relay/upstream/graph"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/oauth"
)

// hop is an upstream of Graph, a server for it, and what gives out its tokens.
type hop struct {
	*httpapi.Upstream
	graph  *apitest.Graph
	tokens atomic.Int64 // that were given out
	valid  atomic.Int64 // the oldest one that is good
}

// Fetch implements oauth.Source: the tokens are numbers.
func (h *hop) Fetch(context.Context) (oauth.Token, error) {
	now := time.Now()
	return oauth.Token{Access: oauth.NewSecret(fmt.Sprint(h.tokens.Add(1))), Issued: now,
		Expires: now.Add(time.Hour)}, nil
}

func newHop(t *testing.T) *hop {
	t.Helper()
	h := &hop{}
	h.graph = apitest.StartGraph(t, func(token string) bool {
		var n int64
		fmt.Sscan(token, &n)
		return n > 0 && n >= h.valid.Load()
	})
	endpoint, err := url.Parse(h.graph.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := httpapi.Options{
		Name: "graph", Endpoint: endpoint, RcptMax: graph.MaxRecipients, Size: graph.MaxSize, Connections: 4,
		TLS:     tlsconf.Client{Mode: tlsconf.Implicit, CAFile: h.graph.CAFile, MinVersion: tls.VersionTLS12},
		MaxIdle: time.Minute, Grace: 2 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Timeouts: httpapi.Timeouts{Connect: 5 * time.Second, Command: 5 * time.Second,
			Write: 5 * time.Second, EndOfData: 10 * time.Second},
	}
	client, err := httpapi.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	h.Upstream, err = graph.New(graph.Options{Options: o, Mailbox: "box@contoso.test",
		Tokens: oauth.NewCached("graph", h, o.Log)}, client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// relay sends a content to recipients.
func (h *hop) relay(t *testing.T, text string, to ...string) (result relay.Result) {
	t.Helper()
	m := &relay.Message{ID: "1", Size: int64(len(text)), Envelope: relay.Envelope{From: "app@contoso.test"}}
	tx := &relay.Transaction{Message: m, From: m.Envelope.From,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	for i, a := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: a})
		tx.Recipients = append(tx.Recipients, i)
	}
	h.Relay(context.Background(), tx, func() *relay.Transaction { return nil },
		func(_ *relay.Transaction, r relay.Result) { result = r })
	return result
}

// TestRecipients: whatever the header says, the recipients of the envelope get the mail, each once, and
// nobody else does. What need not be changed is not.
func TestRecipients(t *testing.T) {
	const from, end = "From: App <app@contoso.test>\r\n", "Subject: x\r\n\r\nTo: not@header.test\r\n\r\n"
	for name, tt := range map[string]struct {
		header string
		to     []string
		want   string // the header that Graph gets, less From and Subject
	}{
		"all named": {"To: A <a@x.test>,\r\n\tb@x.test\r\nCc: c@x.test\r\n",
			[]string{"a@x.test", "b@x.test", "c@x.test"},
			"To: A <a@x.test>,\r\n\tb@x.test\r\nCc: c@x.test\r\n"},
		"another case": {"To: A@X.test\r\n", []string{"a@x.test"}, "To: A@X.test\r\n"},
		"one hidden": {"To: a@x.test\r\n", []string{"a@x.test", "h@x.test"},
			"To: a@x.test\r\nBcc: <h@x.test>\r\n"},
		"other charsets": {
			"To: =?windows-1252?Q?Jos=E9?= <a@x.test>,\r\n =?koi8-r?B?8NLJ18XU?= <b@x.test>\r\n",
			[]string{"a@x.test", "b@x.test"},
			"To: =?windows-1252?Q?Jos=E9?= <a@x.test>,\r\n =?koi8-r?B?8NLJ18XU?= <b@x.test>\r\n"},
		"other charsets, and others": {
			"To: \"J. R.\" =?windows-1252?Q?Jos=E9?= <a@x.test>, =?koi8-r?B?8NLJ18XU?= <z@x.test>\r\n",
			[]string{"a@x.test"}, "To: \"J.\" \"R.\" =?windows-1252?Q?Jos=E9?= <a@x.test>\r\n" +
				"X-Mailwhy-To: \"J. R.\" =?windows-1252?Q?Jos=E9?= <a@x.test>, " +
				"=?koi8-r?B?8NLJ18XU?= <z@x.test>\r\n"},
		"not UTF-8": {"To: Jos\xe9 <a@x.test>\r\n", []string{"a@x.test"}, "To: Jos\xe9 <a@x.test>\r\n"},
		"a blank before the colon": {"To : a@x.test\r\nBcc : z@x.test\r\n", []string{"a@x.test"},
			"To: a@x.test\r\n"},
		"old Bcc":   {"Bcc: z@x.test\r\nTo: a@x.test\r\n", []string{"a@x.test"}, "To: a@x.test\r\n"},
		"no fields": {"", []string{"a@x.test", "b@x.test"}, "Bcc: <a@x.test>,\r\n <b@x.test>\r\n"},
		"group": {"To: team: a@x.test, b@x.test;\r\n", []string{"a@x.test", "b@x.test"},
			"To: team: a@x.test, b@x.test;\r\n"},
		"twice in fields": {"To: a@x.test\r\nCc: a@x.test\r\n", []string{"a@x.test"},
			"To: a@x.test\r\nCc: a@x.test\r\n"},
		"undisclosed": {"To: undisclosed-recipients:;\r\n", []string{"a@x.test"},
			"X-Mailwhy-To: undisclosed-recipients:;\r\nBcc: <a@x.test>\r\n"},
		"others named": {"To: a@x.test, \"B, b\" <b@x.test>\r\nCc: other@x.test\r\n", []string{"b@x.test"},
			"To: \"B, b\" <b@x.test>\r\nX-Mailwhy-To: a@x.test, \"B, b\" <b@x.test>\r\n" +
				"X-Mailwhy-Cc: other@x.test\r\n"},
		"unreadable": {"To: <<<\r\n", []string{"a@x.test"}, "X-Mailwhy-To: <<<\r\nBcc: <a@x.test>\r\n"},
		"a list's": {"To: list@x.test\r\n", []string{"a@x.test", "b@x.test"},
			"X-Mailwhy-To: list@x.test\r\nBcc: <a@x.test>,\r\n <b@x.test>\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHop(t)
			r := h.relay(t, from+tt.header+end, tt.to...)
			if len(r.Attempts) != len(tt.to) || !r.Attempts[0].Accepted() || r.Attempts[0].UpstreamID == "" {
				t.Fatalf("%+v", r)
			}
			m := h.graph.Mails()[0]
			if m.Path != "/v1.0/users/box@contoso.test/sendMail" {
				t.Error(m.Path)
			}
			got := strings.Replace(strings.TrimPrefix(string(m.Content), from), "Subject: x\r\n", "", 1)
			if want := tt.want + "\r\nTo: not@header.test\r\n\r\n"; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			seen := map[string]bool{}
			for _, a := range m.To {
				seen[strings.ToLower(a)] = true
			}
			for _, a := range tt.to {
				if !seen[a] {
					t.Errorf("%s does not get it", a)
				}
				delete(seen, a)
			}
			if len(seen) > 0 {
				t.Errorf("%v get it too", seen)
			}
		})
	}
}

const plain = "From: app@contoso.test\r\nTo: a@x.test\r\n\r\nbody\r\n"

// TestRefusals: each documented error, what it means, and whom it concerns.
func TestRefusals(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const mail, end = diagnose.StageMail, diagnose.StageEndOfData
	const upstream, message = diagnose.ScopeUpstream, diagnose.ScopeMessage
	h := newHop(t)
	var says atomic.Pointer[apitest.Answer]
	h.graph.Script = func(*apitest.Mail) *apitest.Answer { return says.Load() }
	for _, tt := range []struct {
		status int
		code   string
		stage  diagnose.Stage
		class  int
		fault  bool
		reason diagnose.Reason
		scope  diagnose.Scope
	}{
		{404, "MailboxNotEnabledForRESTAPI", mail, 5, true, "api_mailbox_unusable", upstream},
		{404, "ErrorInvalidUser", mail, 5, true, "api_mailbox_unusable", upstream},
		{403, "ErrorAccessDenied", mail, 5, true, "api_permission_missing", upstream},
		{403, "Authorization_RequestDenied", mail, 5, true, "api_permission_missing", upstream},
		{403, "ErrorSendAsDenied", mail, 5, false, "send_as_denied", diagnose.ScopeSender},
		{400, "ErrorInvalidRecipients", diagnose.StageRcpt, 5, false, "bad_address_syntax",
			diagnose.ScopeRecipient},
		{400, "ErrorMessageSizeExceeded", end, 5, false, "message_too_large", message},
		{413, "RequestEntityTooLarge", end, 5, false, "message_too_large", message},
		{429, "ApplicationThrottled", mail, 4, false, "throttled", upstream},
		{429, "", mail, 4, false, "throttled", upstream},
		{429, "ErrorExceededMessageLimit", mail, 4, false, "quota_exceeded", upstream},
		{400, "ErrorMimeContentInvalid", end, 5, false, "malformed_message", message},
		{503, "ServiceUnavailable", end, 4, false, "api_unavailable", upstream},
		{400, "ErrorOfTomorrow", end, 4, false, "api_refused", message},
	} {
		says.Store(&apitest.Answer{Status: tt.status, Code: tt.code, Text: "words of the service"})
		r := h.relay(t, plain, "a@x.test")
		a := r.Fault
		if !tt.fault && len(r.Attempts) == 1 {
			a = &r.Attempts[0]
		}
		if a == nil {
			t.Errorf("%s: %+v", tt.code, r)
			continue
		}
		d := engine.Diagnose(diagnose.Symptom{Stage: a.Stage, NetErr: a.NetErr})
		if a.Stage != tt.stage || a.Class() != tt.class || d.Reason != tt.reason || d.Scope != tt.scope ||
			!strings.Contains(a.NetErr.Text, "words of the service") {
			t.Errorf("%d %s: stage %s, class %d, %s, scope %s: %+v", tt.status, tt.code, a.Stage, a.Class(),
				d.Reason, d.Scope, a.NetErr)
		}
	}
}

// TestNotReached: what answers instead of Graph takes no mail, whatever its status says.
func TestNotReached(t *testing.T) {
	h := newHop(t)
	const page = "<html><title>Blocked</title></html>"
	for _, a := range []apitest.Answer{{Status: 202, Page: page}, {Status: 200, Page: page}, {Status: 200},
		{Status: 204}, {Status: 302}, {Status: 403, Page: page}, {Status: 404, Page: page}} {
		h.graph.Script = func(*apitest.Mail) *apitest.Answer { return &a }
		r := h.relay(t, plain, "a@x.test")
		if len(r.Attempts) != 1 || r.Attempts[0].Class() != 5 || r.Attempts[0].Stage != diagnose.StageMail ||
			r.Attempts[0].NetErr.Reason != "api_not_reached" {
			t.Errorf("%+v: %+v", a, r)
		}
	}
}

// TestBadRecipient: one recipient that Graph refuses costs nobody else the mail.
func TestBadRecipient(t *testing.T) {
	h := newHop(t)
	h.graph.Script = func(m *apitest.Mail) *apitest.Answer {
		if slices.Contains(m.To, "bad@x.test") {
			return &apitest.Answer{Status: 400, Code: "ErrorInvalidRecipients"}
		}
		return nil
	}
	to := []string{"a@x.test", "b@x.test", "bad@x.test", "c@x.test"}
	r := h.relay(t, "From: app@contoso.test\r\nTo: a@x.test, bad@x.test\r\n\r\n", to...)
	for i := range r.Attempts {
		if r.Attempts[i].Accepted() == (to[i] == "bad@x.test") {
			t.Errorf("%s: %+v", to[i], r.Attempts[i])
		}
	}
}

// TestTokens: a token that is refused is replaced once, and another refusal is a fault.
func TestTokens(t *testing.T) {
	h := newHop(t)
	if r := h.relay(t, plain, "a@x.test"); !r.Attempts[0].Accepted() {
		t.Fatalf("%+v", r)
	}
	h.valid.Store(2)
	if r := h.relay(t, plain, "a@x.test"); len(r.Attempts) != 1 || !r.Attempts[0].Accepted() {
		t.Fatalf("%+v", r.Fault)
	}
	h.valid.Store(1 << 40)
	r := h.relay(t, plain, "a@x.test")
	if r.Fault == nil || r.Fault.Stage != diagnose.StageAuth ||
		r.Fault.NetErr.Reason != "api_credentials_refused" {
		t.Errorf("%+v", r)
	}
	if a := h.Probe(context.Background()); a == nil || a.Stage != diagnose.StageAuth {
		t.Errorf("probe: %+v", a)
	}
	h.valid.Store(0)
	if a := h.Probe(context.Background()); a != nil {
		t.Errorf("probe: %+v", a)
	}
}

// TestTooLarge: what sendMail does not take is not sent.
func TestTooLarge(t *testing.T) {
	h := newHop(t)
	text := plain + strings.Repeat("x", graph.MaxSize)
	r := h.relay(t, text, "a@x.test")
	if a := r.Attempts[0]; a.NetErr.Kind != diagnose.NetSizeExceeded || len(h.graph.Mails()) != 0 {
		t.Errorf("%+v", a)
	}
	if r := h.relay(t, text[:graph.MaxSize-100], "a@x.test"); !r.Attempts[0].Accepted() {
		t.Errorf("the largest: %+v", r)
	}
}
