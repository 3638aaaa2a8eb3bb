package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mailwhy/diagnose"
	"mailwhy/relay"
	"mailwhy/relay/smtptest"
)

// said are the commands of each session, from MAIL on.
func said(s *smtptest.Server) [][]string {
	var all [][]string
	for _, ses := range s.Sessions() {
		var lines []string
		for _, l := range ses.Commands {
			if !strings.HasPrefix(l, "EHLO") && l != "QUIT" {
				lines = append(lines, l)
			}
		}
		all = append(all, lines)
	}
	return all
}

// TestRefusals: each reply belongs to its recipient, and the connection goes on after a refused transaction.
func TestRefusals(t *testing.T) {
	refuse := func(c smtptest.Command) smtptest.Action {
		if c.Arrived == nil {
			c.Arrived = &smtptest.Message{}
		}
		for _, stage := range []diagnose.Stage{diagnose.StageMail, diagnose.StageData,
			diagnose.StageEndOfData} {
			if c.Stage == stage && strings.HasPrefix(c.Arrived.From+c.Address, "no-"+string(stage)) {
				return smtptest.Action{Reply: "550 5.7.1 at " + string(stage)}
			}
		}
		if local, _, _ := strings.Cut(c.Address, "@"); c.Stage == diagnose.StageRcpt &&
			strings.HasPrefix(local, "4") {
			return smtptest.Action{Reply: "450 4.2.1 " + local}
		} else if c.Stage == diagnose.StageRcpt && strings.HasPrefix(local, "5") {
			return smtptest.Action{Reply: "550-5.1.1 " + local + "\n550 5.1.1 unknown"}
		}
		return smtptest.Action{}
	}
	for _, without := range []string{"", "PIPELINING"} {
		t.Run("without "+without, func(t *testing.T) {
			s := smtptest.New(t, smtptest.Options{Without: []string{without}, Script: refuse})
			var ts []*relay.Transaction
			for _, from := range []string{"x@a.test", "no-mail@a.test", "y@a.test", "no-data@a.test",
				"z@a.test", "no-end_of_data@a.test", "w@a.test"} {
				m := message(content, "1@b.test", "55@b.test", "2@b.test", "44@b.test")
				m.From = from
				ts = append(ts, m)
			}
			ts = append(ts, message(content, "5@b.test"), message(content, "7@b.test"))
			out := send(t, newPool(t, s.Addr(), nil), ts...)
			want := []string{
				"end_of_data 250|rcpt 550|end_of_data 250|rcpt 450", "mail 550|mail 550|mail 550|mail 550",
				"end_of_data 250|rcpt 550|end_of_data 250|rcpt 450", "data 550|rcpt 550|data 550|rcpt 450",
				"end_of_data 250|rcpt 550|end_of_data 250|rcpt 450",
				"end_of_data 550|rcpt 550|end_of_data 550|rcpt 450",
				"end_of_data 250|rcpt 550|end_of_data 250|rcpt 450", "rcpt 550", "end_of_data 250",
			}
			for i, o := range out {
				var got []string
				for _, a := range attempts(t, o) {
					got = append(got, fmt.Sprint(a.Stage, " ", a.Reply.Code))
				}
				if strings.Join(got, "|") != want[i] {
					t.Errorf("message %d: %q, want %q", i, got, want[i])
				}
			}
			if a := out[0].r.Attempts[1]; a.Reply.Raw != "550-5.1.1 55\r\n550 5.1.1 unknown\r\n" {
				t.Errorf("%q", a.Reply.Raw)
			}
			if n := s.Stats().Sessions; n != 1 {
				t.Errorf("%d sessions", n)
			}
			if n := s.Stats().Messages; n != 5 {
				t.Errorf("%d messages arrived", n)
			}
		})
	}
}

// TestAheadOfItsTime: a server whose transaction is not over with a refused content answers 503 to the
// envelope that travelled with it. It is offered again, after RSET.
func TestAheadOfItsTime(t *testing.T) {
	refused := false
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		switch {
		case c.Stage == diagnose.StageEndOfData && c.Message == 1:
			refused = true
			return smtptest.Action{Reply: "554 5.7.1 spam"}
		case c.Stage == diagnose.StageReset:
			refused = false
		case refused && c.Stage == diagnose.StageMail:
			return smtptest.Action{Reply: "503 5.5.1 nested MAIL"}
		}
		return smtptest.Action{}
	}})
	out := send(t, newPool(t, s.Addr(), nil), message(content, "a@b.test"), message(content, "b@b.test"))
	if a := attempts(t, out[0])[0]; a.Reply.Code != 554 || a.Stage != diagnose.StageEndOfData {
		t.Errorf("%+v", a)
	}
	if a := attempts(t, out[1])[0]; !a.Accepted() {
		t.Errorf("%+v", a)
	}
	if n := s.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions", n)
	}
}

func TestSplit(t *testing.T) {
	many := func(n int) (rcpts []string) {
		for i := range n {
			rcpts = append(rcpts, fmt.Sprintf("r%d@b.test", i))
		}
		return rcpts
	}
	counting := func(limit int, text string) func(smtptest.Command) smtptest.Action {
		return func(c smtptest.Command) smtptest.Action {
			if c.Stage == diagnose.StageRcpt && len(c.Arrived.To) >= limit {
				return smtptest.Action{Reply: text}
			}
			return smtptest.Action{}
		}
	}
	tests := []struct {
		name   string
		server smtptest.Options
		max    int
		want   []int // recipients of each message that arrives
	}{
		{"our limit", smtptest.Options{}, 4, []int{4, 4, 2}},
		{"LIMITS RCPTMAX", smtptest.Options{Extra: []string{"LIMITS RCPTMAX=3"}}, 100, []int{3, 3, 3, 1}},
		{"452 4.5.3", smtptest.Options{Script: counting(6, "452 4.5.3 Too many recipients")}, 100,
			[]int{6, 4}},
		{"452 without words", smtptest.Options{Script: counting(4, "452 4.5.3")}, 100, []int{4, 4, 2}},
		{"552", smtptest.Options{Script: counting(4, "552 too many recipients")}, 100, []int{4, 4, 2}},
		{"450 4.5.3 one by one",
			smtptest.Options{Without: []string{"PIPELINING"}, Script: counting(1, "450 4.5.3 x")}, 100,
			[]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := smtptest.New(t, tt.server)
			p := newPool(t, s.Addr(), func(o *Options) { o.RcptMax = tt.max })
			out := send(t, p, message(content, many(10)...), message(content, "last@b.test"))
			for _, o := range out {
				for _, a := range attempts(t, o) {
					if !a.Accepted() {
						t.Errorf("%+v", a)
					}
				}
			}
			var got []int
			seen := map[string]bool{}
			for _, m := range s.Messages() {
				got = append(got, len(m.To))
				for _, r := range m.To {
					seen[r.Address] = true
				}
			}
			if !slices.Equal(got, append(tt.want, 1)) || len(seen) != 11 || s.Stats().Sessions != 1 {
				t.Errorf("messages of %v, %d recipients, %d sessions", got, len(seen), s.Stats().Sessions)
			}
		})
	}
	t.Run("another refusal", func(t *testing.T) {
		s := smtptest.New(t, smtptest.Options{Script: counting(2, "450 4.7.1 [10.4.5.3] later")})
		as := attempts(t, send(t, newPool(t, s.Addr(), nil), message(content, many(3)...))[0])
		if !as[1].Accepted() || as[2].Stage != diagnose.StageRcpt || as[2].Reply.Code != 450 ||
			len(s.Messages()) != 1 {
			t.Errorf("%+v", as)
		}
	})
	t.Run("none is taken", func(t *testing.T) {
		s := smtptest.New(t, smtptest.Options{Script: counting(0, "452 4.5.3 Too many recipients this hour")})
		for _, a := range attempts(t, send(t, newPool(t, s.Addr(), nil), message(content, many(3)...))[0]) {
			if a.Stage != diagnose.StageRcpt || a.Reply.Code != 452 {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestFaultInTheMiddle: the connection for the second half of a large list does not come up.
func TestFaultInTheMiddle(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{Script: func(c smtptest.Command) smtptest.Action {
		if c.Stage == diagnose.StageEndOfData {
			return smtptest.Action{Reply: "421 4.3.2 bye", End: smtptest.EndClose}
		}
		if c.Stage == diagnose.StageGreeting && c.Session == 2 {
			return smtptest.Action{Reply: "554 5.7.1 blocked", End: smtptest.EndClose}
		}
		return smtptest.Action{}
	}})
	p := newPool(t, s.Addr(), func(o *Options) { o.RcptMax = 1 })
	as := attempts(t, send(t, p, message(content, "a@b.test", "b@b.test"))[0])
	if as[0].Reply.Code != 421 || as[0].Uncertain || as[1].Stage != diagnose.StageGreeting ||
		as[1].Reply.Code != 554 {
		t.Errorf("%+v", as)
	}
}

// TestContentUnreadable: nothing is completed at the server, whatever is read before the error.
func TestContentUnreadable(t *testing.T) {
	broken := errors.New("damaged")
	for _, size := range []int{0, 100, 200_000} {
		s := smtptest.New(t, smtptest.Options{})
		p := newPool(t, s.Addr(), nil)
		m := message(content, "a@b.test")
		m.Open = func() (io.ReadCloser, error) {
			whole := strings.NewReader(strings.Repeat("0123456789\r\n", size/12))
			return io.NopCloser(io.MultiReader(whole, iotest.ErrReader(broken))), nil
		}
		unopened := message(content, "a@b.test")
		unopened.Open = func() (io.ReadCloser, error) { return nil, broken }
		out := send(t, p, message(content, "a@b.test"), m, unopened, message(content, "b@b.test"))
		for i, o := range out {
			if bad := i == 1 || i == 2; bad != errors.Is(o.r.Err, broken) || !bad &&
				!attempts(t, o)[0].Accepted() {
				t.Errorf("message %d: %+v", i, o.r)
			}
		}
		p.Close()
		if got := s.Messages(); len(got) != 2 || string(got[0].Content) != content ||
			string(got[1].Content) != content {
			t.Errorf("arrived: %d messages", len(got))
		}
	}
}

// TestContentPartlyRelayed: an error after some recipients were accepted must not have those tried again.
func TestContentPartlyRelayed(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	opens := 0
	m := message(content, "a@b.test", "b@b.test")
	m.Open = func() (io.ReadCloser, error) {
		if opens++; opens == 2 {
			return nil, fmt.Errorf("reading: %w", relay.ErrCorrupt)
		}
		return io.NopCloser(strings.NewReader(content)), nil
	}
	as := attempts(t, send(t, newPool(t, s.Addr(), func(o *Options) { o.RcptMax = 1 }), m)[0])
	if !as[0].Accepted() || as[1].Stage != diagnose.StageQueue || as[1].NetErr.Kind != diagnose.NetCorrupt {
		t.Errorf("%+v", as)
	}
}

// TestEarlyReply: a server that has enough in the middle of the content, and closes or stops reading, is
// heard.
func TestEarlyReply(t *testing.T) {
	for _, end := range []string{"close", "silence"} {
		t.Run(end, func(t *testing.T) {
			s := newRaw(t, func(c *peer) {
				c.say("220 x\r\n")
				c.until("EHLO", "250-x\r\n250 PIPELINING\r\n")
				c.until("DATA", "250 1\r\n250 2\r\n354 go\r\n")
				c.read(50_000)
				c.say("552 5.3.4 too much\r\n")
				if end == "silence" {
					<-c.over
				}
			})
			big := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 20_000)
			p := newPool(t, s.addr, nil)
			a := attempts(t, send(t, p, message(big, "a@b.test"))[0])[0]
			if a.Reply.Raw != "552 5.3.4 too much\r\n" || a.Stage != diagnose.StageEndOfData || a.Uncertain {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestEarlyAcceptance: nobody can have accepted what has not come.
func TestEarlyAcceptance(t *testing.T) {
	s := newRaw(t, func(c *peer) {
		c.say("220 x\r\n")
		c.until("EHLO", "250-x\r\n250 PIPELINING\r\n")
		c.until("DATA", "250 1\r\n250 2\r\n354 go\r\n")
		c.read(50_000)
		c.say("250 2.0.0 thanks\r\n")
		c.read(1 << 30)
	})
	big := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 20_000)
	a := attempts(t, send(t, newPool(t, s.addr, nil), message(big, "a@b.test"))[0])[0]
	if a.Accepted() || a.NetErr.Kind != diagnose.NetProtocol || a.Uncertain {
		t.Errorf("%+v", a)
	}
}

// TestAddressesThatCannotBeWritten: what would change a command's meaning is never written.
func TestAddressesThatCannotBeWritten(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	for _, bad := range []string{"", "a@b.test> ORCPT=rfc822;x", "a@b.test\r\nRCPT TO:<c@d.test",
		"a\x00@b.test", "a b@c.test", `"a@b.test`, `"a\`} {
		if o := send(t, p, message(content, "ok@b.test", bad))[0]; o.r.Err == nil {
			t.Errorf("%q was written", bad)
		}
	}
	for _, good := range []string{`"a b"@c.test`, `"a\"> b"@c.test`, "a@[127.0.0.1]"} {
		if a := attempts(t, send(t, p, message(content, good))[0])[0]; !a.Accepted() {
			t.Errorf("%q: %+v", good, a)
		}
	}
}

func TestNextIsAskedAhead(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	var order []string
	asked := 0
	p.Relay(context.Background(), message(content, "0@b.test"), func() *relay.Transaction {
		if asked++; asked > 2 {
			order = append(order, "nil")
			return nil
		}
		order = append(order, "next")
		return message(content, fmt.Sprint(asked, "@b.test"))
	}, func(tx *relay.Transaction, r relay.Result) {
		order = append(order, "done "+tx.Message.Recipients[0].Address)
	})
	want := []string{"next", "done 0@b.test", "next", "done 1@b.test", "nil", "done 2@b.test", "nil"}
	if !slices.Equal(order, want) {
		t.Errorf("%q", order)
	}
}
