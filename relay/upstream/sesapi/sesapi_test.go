package sesapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
	"mailwhy/relay/smtptest/apitest"
	"mailwhy/relay/upstream/httpapi"
)

// TestSend: what SES gets is the content as it is, for the recipients of the envelope.
func TestSend(t *testing.T) {
	h := newHop(t, apitest.StartSES(t), nil)
	r := h.relay(t, message(content, "bounce@shop.example", "a@x.test", "b@y.test"))
	if len(r.Attempts) != 2 || !r.Attempts[0].Accepted() || !r.Attempts[1].Accepted() {
		t.Fatalf("%+v", r)
	}
	a := &r.Attempts[0]
	if a.UpstreamID == "" || a.Host != "127.0.0.1" || a.TLS != "TLS1.3" || a.Remote == "" || a.DSN ||
		!a.Reply.IsZero() || a.NetErr != (diagnose.NetErr{}) {
		t.Errorf("%+v", a)
	}
	m := h.ses.Mails()[0]
	if string(m.Content) != content || m.From != "bounce@shop.example" ||
		!slices.Equal(m.To, []string{"a@x.test", "b@y.test"}) {
		t.Errorf("%q from %s to %v", m.Content, m.From, m.To)
	}
}

// TestManyRecipients: fifty a call, and one bad address costs nobody else the mail.
func TestManyRecipients(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.Script = func(m *apitest.Mail) *apitest.Answer {
		if slices.Contains(m.To, "bad..dots@x.test") {
			return &apitest.Answer{Status: 400, Code: "BadRequestException", Text: "Illegal address"}
		}
		return nil
	}
	h := newHop(t, ses, nil)
	to := []string{"bad..dots@x.test"}
	for i := range 119 {
		to = append(to, fmt.Sprintf("r%d@x.test", i))
	}
	r := h.relay(t, message(content, "app@shop.example", to...))
	for i := range r.Attempts {
		if a := &r.Attempts[i]; a.Accepted() != (i > 0) {
			t.Errorf("%s: %+v", to[i], a)
		}
	}
	if a := &r.Attempts[0]; a.Stage != diagnose.StageRcpt || a.Class() != 5 ||
		a.NetErr.Reason != "bad_address_syntax" {
		t.Errorf("%+v", a)
	}
	got := map[string]int{}
	for _, m := range ses.Mails() {
		for _, a := range m.To {
			got[a]++
		}
	}
	if len(got) != 119 {
		t.Errorf("%d recipients got it", len(got))
	}
	for a, n := range got {
		if n != 1 {
			t.Errorf("%s got it %d times", a, n)
		}
	}
}

// TestRefusals: each documented error, what it means, and whom it concerns.
func TestRefusals(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var says atomic.Pointer[apitest.Answer]
	ses := apitest.StartSES(t)
	ses.Script = func(*apitest.Mail) *apitest.Answer { return says.Load() }
	h := newHop(t, ses, nil)
	type meaning struct {
		stage  diagnose.Stage
		class  int
		fault  bool // of the lane
		reason diagnose.Reason
		scope  diagnose.Scope
		owner  diagnose.Owner
	}
	account := func(stage diagnose.Stage, r diagnose.Reason) meaning {
		return meaning{stage: stage, class: 5, fault: true, reason: r, scope: diagnose.ScopeUpstream,
			owner: diagnose.OwnerOperator}
	}
	limit := func(r diagnose.Reason) meaning {
		return meaning{stage: diagnose.StageMail, class: 4, reason: r, scope: diagnose.ScopeUpstream,
			owner: diagnose.OwnerOperator}
	}
	sender := func(stage diagnose.Stage, r diagnose.Reason) meaning {
		return meaning{stage: stage, class: 5, reason: r, scope: diagnose.ScopeSender,
			owner: diagnose.OwnerOperator}
	}
	mail := func(class int, r diagnose.Reason) meaning {
		return meaning{stage: diagnose.StageEndOfData, class: class, reason: r, scope: diagnose.ScopeMessage,
			owner: diagnose.OwnerApplication}
	}
	forbidden := meaning{stage: diagnose.StageMail, class: 5, reason: "api_permission_missing",
		scope: diagnose.ScopeUpstream, owner: diagnose.OwnerOperator}
	unavailable := meaning{stage: diagnose.StageEndOfData, class: 4, reason: "api_unavailable",
		scope: diagnose.ScopeUpstream, owner: diagnose.OwnerUpstreamProvider}
	const (
		atMail, atAuth = diagnose.StageMail, diagnose.StageAuth
		quota          = "Daily message quota exceeded."
	)
	for _, tt := range []struct {
		status     int
		code, text string
		meaning
	}{
		{400, "AccountSuspendedException", "Account is suspended", account(atMail, "account_suspended")},
		{400, "SendingPausedException", "Sending paused", account(atMail, "account_suspended")},
		{400, "MailFromDomainNotVerifiedException", "no MX", sender(atMail, "mail_from_not_verified")},
		{403, "AccessDeniedException", "User is not authorized to perform: ses:SendEmail", forbidden},
		{400, "MessageRejected", "Email address is not verified. The following identities failed the check " +
			"in region EU-WEST-1: app@shop.example", sender(diagnose.StageEndOfData, "sender_not_verified")},
		{400, "MessageRejected", "Transaction failed: a virus was found", mail(5, "virus_found")},
		{400, "BadRequestException", "Something is wrong with this", mail(5, "api_refused")},
		{429, "TooManyRequestsException", "Maximum sending rate exceeded.", limit("throttled")},
		{400, "ThrottlingException", quota, limit("quota_exceeded")},
		{400, "LimitExceededException", quota, limit("quota_exceeded")},
		{403, "SignatureDoesNotMatchException", "no", account(atAuth, "api_credentials_refused")},
		{403, "InvalidSignatureException", "Signature expired: 20261129T110000Z is now earlier than",
			account(atAuth, "api_clock_wrong")},
		{403, "ExpiredTokenException", "The security token included in the request is expired",
			account(atAuth, "api_credentials_refused")},
		{500, "InternalFailure", "", unavailable},
		{503, "", "", unavailable},
		{400, "NewException", "never seen", mail(4, "api_refused")},
		{413, "", "", mail(5, "message_too_large")},
	} {
		name := fmt.Sprintf("%d %s %s", tt.status, tt.code, tt.text)
		says.Store(&apitest.Answer{Status: tt.status, Code: tt.code, Text: tt.text})
		r := h.relay(t, messageOf("app@shop.example", "a@x.test"))
		a := r.Fault
		if !tt.fault {
			if len(r.Attempts) != 1 {
				t.Errorf("%s: %+v", name, r)
				continue
			}
			a = &r.Attempts[0]
		}
		if a == nil {
			t.Errorf("%s: no fault: %+v", name, r)
			continue
		}
		d := engine.Diagnose(diagnose.Symptom{Stage: a.Stage, Reply: a.Reply, NetErr: a.NetErr,
			Upstream: "email.eu-west-1.amazonaws.com"})
		if a.Stage != tt.stage || a.Class() != tt.class || d.Reason != tt.reason || d.Scope != tt.scope ||
			d.Owner != tt.owner || !a.Reply.IsZero() || a.NetErr.Kind != diagnose.NetAPI ||
			!strings.Contains(a.NetErr.Text, tt.text) || !strings.Contains(a.NetErr.Text, tt.code) {
			t.Errorf("%s: stage %s, class %d, %s, scope %s, owner %s: %+v", name, a.Stage, a.Class(),
				d.Reason, d.Scope, d.Owner, a.NetErr)
		}
		if d.Provider != "ses" {
			t.Errorf("%s: provider %q", name, d.Provider)
		}
	}
}

func messageOf(from string, to ...string) *relay.Transaction { return message(content, from, to...) }

// TestRetryAfter: a wait that is asked for is in the diagnosis.
func TestRetryAfter(t *testing.T) {
	engine, err := diagnose.New(diagnose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ses := apitest.StartSES(t)
	ses.Script = func(*apitest.Mail) *apitest.Answer {
		return &apitest.Answer{Status: 429, Code: "TooManyRequestsException", Text: "Slow down",
			RetryAfter: "90"}
	}
	r := newHop(t, ses, nil).relay(t, messageOf("app@shop.example", "a@x.test"))
	a := &r.Attempts[0]
	if d := engine.Diagnose(diagnose.Symptom{Stage: a.Stage, NetErr: a.NetErr}); d.RetryAfter !=
		diagnose.Seconds(90*time.Second) {
		t.Errorf("%v in %q", d.RetryAfter, a.NetErr.Text)
	}
}

// TestLost: a request that was written and not answered is uncertain; one that was not written is not.
func TestLost(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.Script = func(*apitest.Mail) *apitest.Answer { return &apitest.Answer{Hang: true} }
	h := newHop(t, ses, nil)
	r := h.relay(t, messageOf("app@shop.example", "a@x.test"))
	if len(r.Attempts) != 1 || !r.Attempts[0].Uncertain || r.Attempts[0].Stage != diagnose.StageEndOfData ||
		r.Attempts[0].Class() != 0 {
		t.Errorf("no answer: %+v", r)
	}
	for _, status := range []int{502, 504} {
		ses.Script = func(*apitest.Mail) *apitest.Answer { return &apitest.Answer{Status: status} }
		if r := h.relay(t, messageOf("app@shop.example", "a@x.test")); !r.Attempts[0].Uncertain {
			t.Errorf("%d: %+v", status, r)
		}
	}
	tx := messageOf("app@shop.example", "a@x.test")
	opened := 0
	tx.Open = func() (io.ReadCloser, error) {
		if opened++; opened == 1 {
			return io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<20))), nil
		}
		return &broken{left: 1 << 19}, nil // the disk fails while the content is sent
	}
	before := len(ses.Mails())
	if r := h.relay(t, tx); !errors.Is(r.Err, errDisk) {
		t.Errorf("broken content: %+v", r)
	}
	if len(ses.Mails()) != before {
		t.Error("a part of a content was taken")
	}
	addr := ses.Server.URL
	ses.Server.Close()
	if r := h.relay(t, messageOf("app@shop.example", "a@x.test")); r.Fault == nil ||
		r.Fault.NetErr.Kind != diagnose.NetRefused || r.Fault.Uncertain ||
		r.Fault.Stage != diagnose.StageConnect {
		t.Errorf("%s is closed: %+v", addr, r)
	}
}

// TestNotReached: what answers instead of SES takes no mail, whatever its status says.
func TestNotReached(t *testing.T) {
	ses := apitest.StartSES(t)
	h := newHop(t, ses, nil)
	const page = "<html><title>Blocked</title></html>"
	for _, a := range []apitest.Answer{{Status: 200, Page: page}, {Status: 200}, {Status: 204},
		{Status: 202, Text: "queued"}, {Status: 302}, {Status: 403, Page: page}, {Status: 404, Page: page}} {
		ses.Script = func(*apitest.Mail) *apitest.Answer { return &a }
		r := h.relay(t, messageOf("app@shop.example", "a@x.test"))
		if len(r.Attempts) != 1 || r.Attempts[0].Class() != 5 || r.Attempts[0].Stage != diagnose.StageMail ||
			r.Attempts[0].NetErr.Reason != "api_not_reached" {
			t.Errorf("%+v: %+v", a, r)
		}
	}
}

// TestRefusedBefore: what is known without the API.
func TestRefusedBefore(t *testing.T) {
	ses := apitest.StartSES(t)
	h := newHop(t, ses, nil, func(o *httpapi.Options) { o.Size = 50 })
	big := messageOf("app@shop.example", "a@x.test")
	for name, tt := range map[string]struct {
		tx   *relay.Transaction
		kind diagnose.NetKind
	}{
		"too large":    {big, diagnose.NetSizeExceeded},
		"null sender":  {message("x", "", "a@x.test"), diagnose.NetAPI},
		"not in ASCII": {message("x", "app@shop.example", "é@x.test"), diagnose.NetUTF8Unavailable},
	} {
		r := h.relay(t, tt.tx)
		if len(r.Attempts) != 1 || r.Attempts[0].NetErr.Kind != tt.kind {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := len(ses.Mails()); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
}

// TestWebIdentity: the role is assumed once for many messages, its token's file is read at each request, and
// the session is replaced before its end.
func TestWebIdentity(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.Life(10 * time.Second)
	file, source := webIdentity(t, ses, "first")
	h := newHop(t, ses, source)
	for range 5 {
		if r := h.relay(t, messageOf("app@shop.example", "a@x.test")); !r.Attempts[0].Accepted() {
			t.Fatalf("%+v", r)
		}
	}
	if n := len(ses.Assumed()); n != 1 {
		t.Errorf("the role was assumed %d times", n)
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	smtptest.WaitFor(t, "another session of the role", func() bool {
		r := h.relay(t, messageOf("app@shop.example", "a@x.test"))
		if !r.Attempts[0].Accepted() {
			t.Fatalf("%+v", r)
		}
		return len(ses.Assumed()) > 1
	})
	form := ses.Assumed()
	if form[0].Get("WebIdentityToken") != "first" || form[1].Get("WebIdentityToken") != "second" ||
		form[0].Get("RoleArn") != "arn:aws:iam::123456789012:role/mailwhy" {
		t.Errorf("%v", form)
	}
}

// TestNoRole: a role that cannot be assumed is a fault with the words of STS, and no secret.
func TestNoRole(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.STS(&apitest.Answer{Status: 403, Code: "AccessDenied",
		Text: "Not authorized to perform sts:AssumeRoleWithWebIdentity with very-secret-token"})
	_, source := webIdentity(t, ses, "very-secret-token")
	h := newHop(t, ses, source)
	r := h.relay(t, messageOf("app@shop.example", "a@x.test"))
	if r.Fault == nil || r.Fault.Stage != diagnose.StageAuth ||
		r.Fault.NetErr.Reason != "api_credentials_missing" ||
		!strings.Contains(r.Fault.NetErr.Text, "AccessDenied: Not authorized") {
		t.Errorf("%+v", r.Fault)
	}
	if strings.Contains(fmt.Sprintf("%+v", r.Fault), "very-secret") {
		t.Errorf("the token is shown: %+v", r.Fault)
	}
	if a := h.Probe(context.Background()); a == nil || a.Stage != diagnose.StageAuth {
		t.Errorf("probe: %+v", a)
	}
}

// TestProbe: good and bad credentials, and a role that may only send.
func TestProbe(t *testing.T) {
	ses := apitest.StartSES(t)
	h := newHop(t, ses, nil)
	if a := h.Probe(context.Background()); a != nil {
		t.Errorf("%+v", a)
	}
	ses.Deny()
	if a := h.Probe(context.Background()); a != nil {
		t.Errorf("may only send: %+v", a)
	}
	ses.Revoke()
	if a := h.Probe(context.Background()); a == nil || a.Stage != diagnose.StageAuth ||
		a.NetErr.Reason != "api_credentials_refused" {
		t.Errorf("revoked: %+v", a)
	}
}

// TestRate: the account's rate is asked for once.
func TestRate(t *testing.T) {
	ses := apitest.StartSES(t)
	h := newHop(t, ses, nil)
	smtptest.WaitFor(t, "the rate", func() bool { return h.client.Rate() == 14 })
	for range 100 {
		h.client.Rate()
	}
	if n := ses.Asked(); n != 1 {
		t.Errorf("GetAccount was called %d times", n)
	}
}

// TestMemory: a message of 40 MB is streamed.
func TestMemory(t *testing.T) {
	ses := apitest.StartSES(t)
	ses.Drop = true
	h := newHop(t, ses, nil)
	const size = 40 << 20
	tx := messageOf("app@shop.example", "a@x.test")
	tx.Message.Size = size
	tx.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(endless{}, size)), nil
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := h.relay(t, tx)
	runtime.ReadMemStats(&after)
	if len(r.Attempts) != 1 || !r.Attempts[0].Accepted() {
		t.Fatalf("%+v", r)
	}
	if n := ses.Mails()[0].Size; n == 0 {
		t.Error("nothing arrived")
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > size/2 {
		t.Errorf("%d bytes were allocated for a message of %d", used, size)
	}
}

// endless is a content without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
