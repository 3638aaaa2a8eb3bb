package upstream

import (
	"crypto/tls"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

func TestTrial(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{SizeLimit: 1000, Script: func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage == diagnose.StageMail && c.Address == "":
			return smtptest.Action{Reply: "501 5.5.4 no null sender"}
		case c.Stage == diagnose.StageRcpt && c.Address == "gone@b.test":
			return smtptest.Action{Reply: "550 5.1.1 no such user"}
		case c.Stage == diagnose.StageRcpt && c.Address == "cut@b.test":
			return smtptest.Action{End: smtptest.EndClose}
		}
		return smtptest.Action{}
	}})
	p := newPool(t, s.Addr(), nil)
	trial, fault := p.Try(t.Context())
	if fault != nil {
		t.Fatalf("%+v", fault)
	}
	defer trial.Close()
	if _, secure := trial.TLS(); secure || trial.Remote() != s.Addr() {
		t.Errorf("TLS %v, remote %s", secure, trial.Remote())
	}
	if c, auth := trial.Offers(); c.Size != 1000 || len(auth) != 0 {
		t.Errorf("%+v %v", c, auth)
	}
	for _, tc := range []struct {
		from, to string
		stage    diagnose.Stage
		code     int
		kind     diagnose.NetKind
	}{
		{"a@a.test", "", diagnose.StageMail, 250, ""},
		{"", "", diagnose.StageMail, 501, ""},
		{"a@a.test", "b@b.test", diagnose.StageRcpt, 250, ""},
		{"a@a.test", "gone@b.test", diagnose.StageRcpt, 550, ""},
		{"a@a.test> X", "", diagnose.StageMail, 0, diagnose.NetLocal},
		{"a@a.test", "cut@b.test", diagnose.StageRcpt, 0, diagnose.NetClosed},
	} {
		a := trial.Ask(tc.from, tc.to)
		if a.Stage != tc.stage || a.Reply.Code != tc.code || a.NetErr.Kind != tc.kind {
			t.Errorf("%s to %s: %+v", tc.from, tc.to, a)
		}
	}
	if n := s.Stats().Messages; n != 0 {
		t.Errorf("%d messages were sent", n)
	}
}

func TestTrialTLS(t *testing.T) {
	cert := smtptest.NewCertificate(t, "127.0.0.1")
	s := smtptest.New(t, smtptest.Options{TLS: cert.Server(), ImplicitTLS: true})
	p := newPool(t, s.Addr(), func(o *Options) { o.TLS.Mode, o.TLS.CAFile = TLSImplicit, caFile(t, cert) })
	trial, fault := p.Try(t.Context())
	if fault != nil {
		t.Fatalf("%+v", fault)
	}
	state, secure := trial.TLS()
	if !secure || state.Version != tls.VersionTLS13 || len(state.PeerCertificates) == 0 {
		t.Errorf("%v %+v", secure, state)
	}
	trial.Close()
	for _, session := range s.Sessions() {
		if last := session.Commands[len(session.Commands)-1]; !strings.EqualFold(last, "QUIT") {
			t.Errorf("the session ends with %s", last)
		}
	}
	s.Close()
	if _, fault := p.Try(t.Context()); fault == nil || fault.Stage != diagnose.StageConnect {
		t.Errorf("%+v", fault)
	}
}
