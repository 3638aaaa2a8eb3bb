package submit

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest"
)

// sent hands a message over to a server that follows a script.
func sent(
	t *testing.T, in string, o smtptest.Options, s Session, to ...string,
) (*smtptest.Server, Outcome, error) {
	t.Helper()
	server := smtptest.New(t, o)
	c, err := Read(strings.NewReader(in), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Mail(Options{From: "app@shop.test", To: to, Host: "h.test", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	s.Hello = "h.test"
	out, err := Send(conn, s, m)
	return server, out, err
}

// at answers a stage.
func at(stage diagnose.Stage, a smtptest.Action) func(smtptest.Command) smtptest.Action {
	return func(c smtptest.Command) smtptest.Action {
		if c.Stage == stage {
			return a
		}
		return smtptest.Action{}
	}
}

func TestSendHandsOverWhole(t *testing.T) {
	body := "\r\n.\r\n..dots\r\n\xff\r\n" + strings.Repeat("line\r\n", maxMemory/3)
	server, out, err := sent(t, "Subject: x\r\n"+body, smtptest.Options{SizeLimit: 10 << 20},
		Session{Notify: "SUCCESS,FAILURE", Ret: "HDRS", EnvID: "a+b"}, "a@x.test", "b@x.test")
	if err != nil || len(out.Refused) > 0 || !slices.Equal(out.Taken, []string{"a@x.test", "b@x.test"}) ||
		out.Reply.Code != 250 {
		t.Fatalf("%+v, %v", out, err)
	}
	m := server.Messages()[0]
	if m.From != "app@shop.test" || len(m.To) != 2 || m.To[1].Params != "NOTIFY=SUCCESS,FAILURE" {
		t.Errorf("from %s, to %+v", m.From, m.To)
	}
	for _, want := range []string{"BODY=8BITMIME", "RET=HDRS", "ENVID=a+2Bb", "SIZE="} {
		if !strings.Contains(m.FromParams, want) {
			t.Errorf("MAIL has %s, want %s", m.FromParams, want)
		}
	}
	if !strings.HasSuffix(string(m.Content), body) || m.BareLF || m.BareCR {
		t.Errorf("the content is not whole: %d bytes", len(m.Content))
	}
	if commands := server.Sessions()[0].Commands; commands[len(commands)-1] != "QUIT" {
		t.Errorf("the last command is %s", commands[len(commands)-1])
	}
}

func TestSendAsksOnlyForWhatIsOffered(t *testing.T) {
	server, out, err := sent(t, "\n\xff\n", smtptest.Options{Without: []string{"8BITMIME", "DSN", "SIZE"}},
		Session{Notify: "NEVER", Ret: "FULL", EnvID: "x"}, "a@x.test")
	if err != nil || len(out.Taken) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if m := server.Messages()[0]; m.FromParams != "" || m.To[0].Params != "" {
		t.Errorf("MAIL has %q, RCPT %q", m.FromParams, m.To[0].Params)
	}
}

// A refusal keeps each line of the reply, at each stage, and nobody has the mail.
func TestSendKeepsRefusals(t *testing.T) {
	const said = "550-5.1.1 first line\n550-5.1.1 second\n550 5.1.1 last"
	for _, stage := range []diagnose.Stage{diagnose.StageGreeting, diagnose.StageHello, diagnose.StageMail,
		diagnose.StageRcpt, diagnose.StageData, diagnose.StageEndOfData} {
		script := at(stage, smtptest.Action{Reply: said})
		server, out, err := sent(t, "\nx\n", smtptest.Options{Script: script}, Session{}, "a@x.test")
		if err != nil || len(out.Taken) > 0 || len(out.Refused) != 1 {
			t.Errorf("%s: %+v, %v", stage, out, err)
			continue
		}
		want := strings.ReplaceAll(said, "\n", "\r\n") + "\r\n"
		if r := out.Refused[0]; r.Stage != stage || r.Reply.Raw != want ||
			(r.Recipient != "") != (stage == diagnose.StageRcpt) {
			t.Errorf("%s: %+v", stage, r)
		}
		if n := len(server.Messages()); n > 0 {
			t.Errorf("%s: the server took %d", stage, n)
		}
	}
}

func TestSendGoesOnWithoutRefusedRecipients(t *testing.T) {
	script := func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageRcpt && c.Address == "b@x.test" {
			return smtptest.Action{Reply: "550 5.1.1 no such user"}
		}
		return smtptest.Action{}
	}
	_, out, err := sent(t, "\nx\n", smtptest.Options{Script: script}, Session{},
		"a@x.test", "b@x.test", "c@x.test")
	if err != nil || !slices.Equal(out.Taken, []string{"a@x.test", "c@x.test"}) || len(out.Refused) != 1 ||
		out.Refused[0].Recipient != "b@x.test" {
		t.Errorf("%+v, %v", out, err)
	}
}

// When the connection ends it is certain whether somebody can have the mail.
func TestSendKnowsWhatIsUncertain(t *testing.T) {
	for stage, uncertain := range map[diagnose.Stage]bool{
		diagnose.StageGreeting: false, diagnose.StageMail: false, diagnose.StageRcpt: false,
		diagnose.StageData: false, diagnose.StageEndOfData: true,
	} {
		for _, end := range []smtptest.End{smtptest.EndClose, smtptest.EndReset} {
			if stage == diagnose.StageGreeting && end == smtptest.EndReset {
				continue // it can come before the client knows that it is connected
			}
			_, out, err := sent(t, "\nx\n", smtptest.Options{Script: at(stage, smtptest.Action{End: end})},
				Session{}, "a@x.test")
			if err == nil || len(out.Taken) > 0 || errors.Is(err, ErrUncertain) != uncertain {
				t.Errorf("%s, %s: %+v, %v", stage, end, out, err)
			}
		}
	}
}

// A relay that refuses the content before its end is heard, and gets no dot.
func TestSendHearsEarlyRefusal(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		b := make([]byte, 4096)
		for _, reply := range []string{"220 x", "250 x", "250 x", "250 x", "354 go"} {
			conn.Write([]byte(reply + "\r\n"))
			conn.Read(b)
		}
		conn.Write([]byte("552 5.3.4 too large\r\n"))
		conn.(*net.TCPConn).CloseRead()
		got <- ""
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).SetWriteBuffer(4096)
	c, err := Read(strings.NewReader("\n"+strings.Repeat("line\n", 2<<20)), false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Mail(Options{To: []string{"a@x.test"}, Host: "h.test", Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	out, err := Send(conn, Session{Hello: "h.test"}, m)
	if why := <-got; why != "" {
		t.Fatal(why)
	}
	// A reset may overtake the reply; then it is an error of the network, and certain all the same.
	if len(out.Taken) > 0 || errors.Is(err, ErrUncertain) || err == nil && out.Refused[0].Reply.Code != 552 {
		t.Errorf("%+v, %v", out, err)
	}
}
