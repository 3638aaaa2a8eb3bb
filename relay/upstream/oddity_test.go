package upstream

import (
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// at answers with the bytes at one stage of every session.
func at(stage diagnose.Stage, bytes string, end smtptest.End) func(smtptest.Command) smtptest.Action {
	return func(c smtptest.Command) smtptest.Action {
		if c.Stage != stage {
			return smtptest.Action{}
		}
		return smtptest.Action{Bytes: []byte(bytes), End: end}
	}
}

// TestReplyOddities runs every oddity of servers' replies against the client. Where there is an attempt,
// its reply is the server's, byte for byte.
func TestReplyOddities(t *testing.T) {
	long := "550 5.7.1 " + strings.Repeat("x", 5000) + "\r\n"
	lines := strings.Repeat("550-5.7.1 one of many\r\n", 2000) + "550 5.7.1 last\r\n"
	tests := []struct {
		name  string
		stage diagnose.Stage
		raw   string
		code  int
		kind  diagnose.NetKind // instead of a reply
	}{
		{"bare 250 after the dot", diagnose.StageEndOfData, "250\r\n", 250, ""},
		{"251 after the dot", diagnose.StageEndOfData, "251 2.0.0 kept\r\n", 251, ""},
		{"252 after the dot", diagnose.StageEndOfData, "252 kept\r\n", 252, ""},
		{"200 after the dot", diagnose.StageEndOfData, "200 kept\r\n", 200, ""},
		{"multi-line after the dot", diagnose.StageEndOfData, "250-a\r\n250-b\r\n250 c\r\n", 250, ""},
		{"bare LF", diagnose.StageEndOfData, "250-a\n250 b\n", 250, ""},
		{"bare code", diagnose.StageRcpt, "550\r\n", 550, ""},
		{"code and space", diagnose.StageRcpt, "550 \r\n", 550, ""},
		{"tab", diagnose.StageRcpt, "550\tno such user\r\n", 550, ""},
		{"enhanced code alone", diagnose.StageRcpt, "550 5.1.1\r\n", 550, ""},
		{"enhanced code with a colon", diagnose.StageRcpt, "550 5.7.1: no\r\n", 550, ""},
		{"enhanced code with a hash", diagnose.StageRcpt, "550 #5.1.0 no\r\n", 550, ""},
		{"enhanced code in brackets", diagnose.StageRcpt, "550 no (5.1.1)\r\n", 550, ""},
		{"enhanced code on a later line", diagnose.StageRcpt, "550-no\r\n550 5.1.1 user\r\n", 550, ""},
		{"class mismatch", diagnose.StageRcpt, "550 4.2.2 full\r\n", 550, ""},
		{"leading zero", diagnose.StageRcpt, "550 5.01.1 no\r\n", 550, ""},
		{"double and trailing spaces", diagnose.StageRcpt, "550  5.1.1  no   user \r\n", 550, ""},
		{"8-bit bytes and NUL", diagnose.StageRcpt, "550 5.1.1 \xff\xfe\x00 na\xefve\r\n", 550, ""},
		{"CR within", diagnose.StageRcpt, "550 5.1.1 a\rb\r\n", 550, ""},
		{"a line of 5000 bytes", diagnose.StageRcpt, long, 550, ""},
		{"2000 lines", diagnose.StageRcpt, lines, 550, ""},
		{"another code within", diagnose.StageRcpt, "550-5.1.1 a\r\n451 4.0.0 b\r\n", 550, ""},
		{"a line without code within", diagnose.StageRcpt,
			"550-5.1.1 a\r\nsee http://x.test/\r\n550 5.1.1 b\r\n", 550, ""},
		{"an empty line within", diagnose.StageRcpt, "550-a\r\n\r\n550 b\r\n", 550, ""},
		{"yes and no in one", diagnose.StageEndOfData, "250-ok\r\n550 no\r\n", 0, diagnose.NetProtocol},
		{"no code", diagnose.StageRcpt, "nope\r\n", 0, diagnose.NetProtocol},
		{"four digits", diagnose.StageRcpt, "5500 no\r\n", 0, diagnose.NetProtocol},
		{"an empty line", diagnose.StageRcpt, "\r\n", 0, diagnose.NetProtocol},
		{"354 to RCPT", diagnose.StageRcpt, "354 go\r\n", 0, diagnose.NetProtocol},
		{"250 to DATA", diagnose.StageData, "250 ok\r\n", 0, diagnose.NetProtocol},
		{"refusal of MAIL", diagnose.StageMail, "550-5.7.1 a\r\n550 5.7.1 b\r\n", 550, ""},
		{"refusal of DATA", diagnose.StageData, "451 4.7.1 later\r\n", 451, ""},
		{"421 at MAIL", diagnose.StageMail, "421 4.7.0 busy\r\n", 421, ""},
		{"221 at RCPT", diagnose.StageRcpt, "221 2.0.0 bye\r\n", 221, ""},
		{"421 after the dot", diagnose.StageEndOfData, "421 4.3.2 shutting down\r\n", 421, ""},
	}
	for _, without := range []string{"", "PIPELINING"} {
		for _, tt := range tests {
			t.Run(tt.name+" without "+without, func(t *testing.T) {
				end := smtptest.EndNot
				if tt.code == 421 || tt.code == 221 || tt.kind != "" {
					end = smtptest.EndClose
				}
				s := smtptest.New(t,
					smtptest.Options{Without: []string{without}, Script: at(tt.stage, tt.raw, end)})
				p := newPool(t, s.Addr(), nil)
				a := attempts(t, send(t, p, message(content, "a@b.test"))[0])[0]
				if a.NetErr.Kind != tt.kind {
					t.Fatalf("%+v: want kind %q", a, tt.kind)
				}
				if a.Stage != tt.stage || a.Reply.Code != tt.code {
					t.Errorf("stage %s, code %d: want %s, %d", a.Stage, a.Reply.Code, tt.stage, tt.code)
				}
				if tt.kind == "" && a.Reply.Raw != tt.raw {
					t.Errorf("reply %q\nwant %q", a.Reply.Raw, tt.raw)
				}
				if want := tt.stage == diagnose.StageEndOfData && tt.code/100 == 2; a.Accepted() != want {
					t.Errorf("accepted %v", a.Accepted())
				}
				if want := tt.stage == diagnose.StageEndOfData && tt.kind != ""; a.Uncertain != want {
					t.Errorf("uncertain %v", a.Uncertain)
				}
			})
		}
	}
}

// TestLongReply checks that a reply beyond 64 KiB is cut, with the fact noted, and that the dialogue stays
// in step.
func TestLongReply(t *testing.T) {
	for _, raw := range []string{
		"550 5.7.1 " + strings.Repeat("x", 100_000) + "\r\n",
		strings.Repeat("550-5.7.1 0123456789012345678901234567890123456789\r\n", 10_000) +
			"550 5.7.1 end\r\n",
	} {
		s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
			if c.Address == "bad@b.test" {
				return smtptest.Action{Bytes: []byte(raw)}
			}
			return smtptest.Action{}
		}})
		p := newPool(t, s.Addr(), nil)
		out := send(t, p, message(content, "bad@b.test", "good@b.test"), message(content, "good@b.test"))
		bad, good := attempts(t, out[0])[0], attempts(t, out[0])[1]
		if bad.Reply.Raw != raw[:maxReply] || bad.ReplyCut != int64(len(raw)-maxReply) {
			t.Errorf("kept %d bytes, cut %d of %d", len(bad.Reply.Raw), bad.ReplyCut, len(raw))
		}
		if !good.Accepted() || !attempts(t, out[1])[0].Accepted() {
			t.Error("out of step after a long reply")
		}
		if n := len(s.Sessions()); n != 1 {
			t.Errorf("%d sessions", n)
		}
	}
}

// TestHelloOddities: greetings and EHLO replies in every legal form, and some others.
func TestHelloOddities(t *testing.T) {
	tests := []struct {
		name     string
		greeting string
		ehlo     string
		helo     string
		caps     relay.Capabilities
		unknown  bool           // capabilities are
		stage    diagnose.Stage // of the fault; "" is success
		raw      string
		kind     diagnose.NetKind
	}{
		{name: "bare greeting", greeting: "220\r\n", ehlo: "250 x\r\n"},
		{name: "greeting of several lines", greeting: "220-a\r\n220-b\r\n220 c\r\n", ehlo: "250 x\r\n"},
		{name: "greeting with bare LF", greeting: "220 x\n", ehlo: "250 x\n"},
		{name: "bare EHLO reply", ehlo: "250\r\n"},
		{name: "keywords in any case",
			ehlo: "250-x\r\n250-pipelining\r\n250-Dsn\r\n250-8bitMime\r\n250-smtputf8\r\n250-Limits " +
				"rcptmax=7 mailmax=9\r\n250 size 100000\r\n",
			caps: relay.Capabilities{Pipelining: true, DSN: true, EightBit: true, SMTPUTF8: true,
				Size: 100_000, RcptMax: 7}},
		{name: "SIZE without a limit", ehlo: "250-x\r\n250-SIZE\r\n250-SIZE 0\r\n250 SIZE x\r\n"},
		{name: "SIZE that no server may have", ehlo: "250-x\r\n250 SIZE 10\r\n"},
		{name: "EHLO unknown", ehlo: "500 what\r\n", helo: "250 x\r\n", unknown: true},
		{name: "EHLO not understood", ehlo: "501 5.5.4 what\r\n", helo: "250 x\r\n", unknown: true},
		{name: "EHLO not implemented", ehlo: "502 5.5.1 what\r\n", helo: "250-x\r\n250 y\r\n", unknown: true},
		{name: "neither understood", ehlo: "502 what\r\n", helo: "501 no\r\n", stage: diagnose.StageHello,
			raw: "501 no\r\n"},
		{name: "EHLO refused", ehlo: "550 5.7.1 no\r\n", helo: "250 x\r\n", unknown: true},
		{name: "EHLO failed", ehlo: "554 no\r\n", helo: "250 x\r\n", unknown: true},
		{name: "both refused", ehlo: "550 5.7.1 no\r\n", helo: "550 5.7.1 no\r\n", stage: diagnose.StageHello,
			raw: "550 5.7.1 no\r\n"},
		{name: "EHLO deferred", ehlo: "421 4.3.2 busy\r\n", stage: diagnose.StageHello,
			raw: "421 4.3.2 busy\r\n"},
		{name: "greeting refused", greeting: "554-5.7.1 blocked\r\n554 see x\r\n",
			stage: diagnose.StageGreeting, raw: "554-5.7.1 blocked\r\n554 see x\r\n"},
		{name: "greeting deferred", greeting: "421 busy\r\n", stage: diagnose.StageGreeting,
			raw: "421 busy\r\n"},
		{name: "not SMTP", greeting: "SSH-2.0-OpenSSH\r\n", stage: diagnose.StageGreeting,
			kind: diagnose.NetProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
				var raw string
				switch {
				case c.Stage == diagnose.StageGreeting:
					raw = tt.greeting
				case strings.HasPrefix(c.Line, "EHLO"):
					raw = tt.ehlo
				case strings.HasPrefix(c.Line, "HELO"):
					raw = tt.helo
				}
				if raw == "" {
					return smtptest.Action{}
				}
				return smtptest.Action{Bytes: []byte(raw)}
			}})
			p := newPool(t, s.Addr(), nil)
			fault := p.Probe(t.Context())
			if tt.stage != "" {
				if fault == nil || fault.Stage != tt.stage || fault.Reply.Raw != tt.raw ||
					fault.NetErr.Kind != tt.kind {
					t.Fatalf("fault %+v", fault)
				}
				return
			}
			if fault != nil {
				t.Fatalf("fault %+v", fault)
			}
			if c, ok := p.Capabilities(); ok == tt.unknown || c != tt.caps {
				t.Errorf("capabilities %+v, want %+v", c, tt.caps)
			}
			if a := attempts(t, send(t, p, message(content, "a@b.test"))[0])[0]; !a.Accepted() {
				t.Errorf("%+v", a)
			}
		})
	}
}
