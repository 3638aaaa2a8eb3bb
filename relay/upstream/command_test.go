package upstream

import (
	"slices"
	"strings"
	"testing"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

func TestEnvelope(t *testing.T) {
	full := func(m *relay.Message) {
		m.Envelope.Body, m.Envelope.Ret, m.Envelope.EnvID = relay.Body8BitMIME, relay.RetHeaders, "a+b=c d"
		m.Recipients[0].ORCPT, m.Recipients[0].Notify = "rFc822;Some+2Bone@B.test",
			relay.NotifySuccess|relay.NotifyDelay
		m.Recipients[1].Notify = relay.NotifyNever
	}
	tests := []struct {
		name    string
		without []string
		change  func(*relay.Message)
		want    []string
	}{
		{"plain", nil, func(*relay.Message) {},
			[]string{"MAIL FROM:<from@a.test> SIZE=30", "RCPT TO:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"}},
		{"all parameters", nil, full, []string{
			"MAIL FROM:<from@a.test> SIZE=30 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+3Dc+20d",
			"RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rFc822;Some+2Bone@B.test",
			"RCPT TO:<a@b.test> NOTIFY=NEVER", "DATA"}},
		{"none offered", []string{"DSN", "SIZE", "8BITMIME", "PIPELINING"}, full,
			[]string{"MAIL FROM:<from@a.test>", "RCPT TO:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"}},
		{"7BIT", nil, func(m *relay.Message) { m.Envelope.Body = relay.Body7Bit },
			[]string{"MAIL FROM:<from@a.test> SIZE=30 BODY=7BIT", "RCPT TO:<a@b.test>", "RCPT TO:<a@b.test>",
				"DATA"}},
		{"SMTPUTF8", nil, func(m *relay.Message) {
			m.Recipients[1].Address,
				m.Envelope.SMTPUTF8 = "jörg@b.test", true
		},
			[]string{"MAIL FROM:<from@a.test> SIZE=30 SMTPUTF8", "RCPT TO:<a@b.test>",
				"RCPT TO:<jörg@b.test>", "DATA"}},
		{"SMTPUTF8 not needed and not offered", []string{"SMTPUTF8"},
			func(m *relay.Message) { m.Envelope.SMTPUTF8 = true },
			[]string{"MAIL FROM:<from@a.test> SIZE=30", "RCPT TO:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"}},
		{"SMTPUTF8 needed for domains, and not offered", []string{"SMTPUTF8"},
			func(m *relay.Message) {
				m.Envelope.SMTPUTF8 = true
				m.Recipients[1].Address, m.Recipients[1].ORCPT = "a@bücher.test", "utf-8;jörg@bücher.test"
			},
			[]string{"MAIL FROM:<from@a.test> SIZE=30", "RCPT TO:<a@b.test>",
				`RCPT TO:<a@xn--bcher-kva.test> ORCPT=utf-8;j\x{F6}rg@b\x{FC}cher.test`, "DATA"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Without: tt.without})
			m := message(content, "a@b.test", "a@b.test") // the same recipient twice is two recipients
			tt.change(m.Message)
			as := attempts(t, send(t, newPool(t, s.Addr(), nil), m)[0])
			if got := said(s)[0]; !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			for _, a := range as {
				if !a.Accepted() || a.DSN == slices.Contains(tt.without, "DSN") {
					t.Errorf("%+v", a)
				}
			}
			if got := s.Messages(); len(got) != 1 || string(got[0].Content) != content {
				t.Errorf("arrived: %+v", got)
			}
		})
	}
}

func TestNotSent(t *testing.T) {
	large := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1000)
	tests := []struct {
		name    string
		opt     smtptest.Options
		content string
		change  func(*relay.Message)
		want    diagnose.NetKind
	}{
		{"too large", smtptest.Options{SizeLimit: 99_999}, large, func(*relay.Message) {},
			diagnose.NetSizeExceeded},
		{"exactly as large", smtptest.Options{SizeLimit: 100_000}, large, func(*relay.Message) {}, ""},
		{"SMTPUTF8 address", smtptest.Options{Without: []string{"SMTPUTF8"}}, content,
			func(m *relay.Message) { m.Recipients[0].Address = "jörg@b.test" }, diagnose.NetUTF8Unavailable},
		{"SMTPUTF8 content", smtptest.Options{Without: []string{"SMTPUTF8"}}, "Subject: ü\r\n",
			func(m *relay.Message) { m.Envelope.SMTPUTF8 = true }, diagnose.NetUTF8Unavailable},
		{"8BITMIME", smtptest.Options{Without: []string{"8BITMIME"}}, "Subject: x\r\n\r\nü\r\n",
			func(m *relay.Message) { m.Envelope.Body = relay.Body8BitMIME }, diagnose.NetEightUnavailable},
		{"8BITMIME needed, not declared", smtptest.Options{Without: []string{"8BITMIME"}},
			"Subject: x\r\n\r\nü\r\n",
			func(*relay.Message) {}, diagnose.NetEightUnavailable},
		{"8BITMIME needed, 7BIT declared", smtptest.Options{Without: []string{"8BITMIME"}},
			"Subject: x\r\n\r\nü\r\n",
			func(m *relay.Message) { m.Envelope.Body = relay.Body7Bit }, diagnose.NetEightUnavailable},
		{"8-bit content where 8BITMIME is offered", smtptest.Options{}, "Subject: x\r\n\r\nü\r\n",
			func(*relay.Message) {}, ""},
		{"8BITMIME declared, not needed", smtptest.Options{Without: []string{"8BITMIME"}}, content,
			func(m *relay.Message) { m.Envelope.Body = relay.Body8BitMIME }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, tt.opt)
			m := message(tt.content, "a@b.test")
			tt.change(m.Message)
			out := send(t, newPool(t, s.Addr(), nil), m, message("x\r\n", "b@b.test"))
			a := attempts(t, out[0])[0]
			if tt.want == "" {
				if !a.Accepted() {
					t.Fatalf("%+v", a)
				}
			} else if a.Stage != diagnose.StageQueue || a.NetErr.Kind != tt.want || len(s.Messages()) != 1 {
				t.Errorf("%+v", a)
			}
			if !attempts(t, out[1])[0].Accepted() || s.Stats().Sessions != 1 {
				t.Error("the next message did not go out on the same connection")
			}
		})
	}
}
