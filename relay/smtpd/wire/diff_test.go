package wire

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// cleanBodies are content on which plain go-smtp is right.
var cleanBodies = []string{
	".\r\n",
	"\r\n.\r\n",
	"a\r\n.\r\n",
	"..\r\n.\r\n",
	"..a\r\n...\r\n.\r\n",
	"a\r\n..\r\nb\r\n..c\r\n\r\n.\r\n",
	"a.\r\n.\r\n",
	"Subject: x\r\n\r\nbody\r\n.\r\n",
	"\xff\xfe\x80 8-bit \x01\x7f\r\n.\r\n",
	strings.Repeat("0123456789", 10) + "\r\n.\r\n",
	strings.Repeat("\r\n", 20) + ".\r\n",
	".x\r\n.\r\n", // not stuffed: the dot goes
}

// TestBodiesAsPlain holds, with the body cut at every byte, that content and replies are the same as with
// go-smtp alone.
func TestBodiesAsPlain(t *testing.T) {
	for _, body := range cleanBodies {
		for i := range len(body) + 1 {
			want, wantBodies := session1(t, nil, before, body[:i], body[i:]+after)
			got, gotBodies := session1(t, &Config{}, before, body[:i], body[i:]+after)
			if got != want || !slices.Equal(gotBodies, wantBodies) {
				t.Fatalf("%q cut at %d:\n got %q %q\nwant %q %q", body, i, got, gotBodies, want, wantBodies)
			}
		}
	}
}

// session1 runs one session and returns its replies and contents. cfg nil is go-smtp alone.
func session1(t *testing.T, cfg *Config, parts ...string) (string, []string) {
	b := &backend{}
	client, _, wait := serve(t, b, cfg)
	out := transcript(client, parts...)
	wait()
	return out, b.contents()
}

// TestRandomSessionsAsPlain holds the same for sessions of random commands, pipelined and cut at random.
func TestRandomSessionsAsPlain(t *testing.T) {
	n := 400
	if testing.Short() {
		n = 50
	}
	for seed := range n {
		rnd := rand.New(rand.NewPCG(1, uint64(seed)))
		input := randomSession(rnd)
		parts := randomParts(rnd, input)
		want, wantBodies := session1(t, nil, parts...)
		got, gotBodies := session1(t, &Config{}, parts...)
		if got != want || !slices.Equal(gotBodies, wantBodies) {
			t.Fatalf("seed %d, input %q:\n got %q %q\nwant %q %q",
				seed, input, got, gotBodies, want, wantBodies)
		}
	}
}

// randomSession is input that go-smtp treats as it should: no BDAT, no STARTTLS, no bare line ends.
func randomSession(rnd *rand.Rand) string {
	commands := []string{
		"EHLO me\r\n", "HELO me\r\n", "MAIL FROM:<a@b>\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<c@d>\r\n",
		"RCPT TO:<e@f> NOTIFY=NEVER\r\n",
		"mail from:<x@y> SIZE=10\r\n", "RSET\r\n", "NOOP\r\n", "VRFY x\r\n", "HELP\r\n", "DATA x\r\n",
		"NOOP\n", "AUTH PLAIN AGEAcmlnaHQ=\r\n",
		"AUTH PLAIN\r\nAGEAd3Jvbmc=\r\n", "AUTH PLAIN\r\n*\r\n", "RCPT TO:<bad\r\n",
		"MAIL FROM:<a@b> X=1\r\n",
	}
	var b strings.Builder
	b.WriteString("EHLO me\r\n")
	for range rnd.IntN(12) {
		if rnd.IntN(3) == 0 {
			b.WriteString("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
			b.WriteString([]string{"DATA\r\n", "data\r\n", "DATA   \r\n"}[rnd.IntN(3)])
			b.WriteString(cleanBodies[rnd.IntN(len(cleanBodies))])
			continue
		}
		c := commands[rnd.IntN(len(commands))]
		if strings.HasPrefix(c, "AUTH PLAIN\r\n") && strings.Contains(b.String(), "cmlnaHQ") {
			continue // authenticated: there is no 334, and the response would be a command
		}
		b.WriteString(c)
	}
	fmt.Fprintf(&b, "RSET\r\nMAIL FROM:<last@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nlast %d\r\n.\r\nQUIT\r\n",
		rnd.Int())
	return b.String()
}

func randomParts(rnd *rand.Rand, s string) []string {
	var parts []string
	for len(s) > 0 {
		n := 1 + rnd.IntN(len(s))
		if rnd.IntN(2) == 0 {
			n = min(n, 1+rnd.IntN(20))
		}
		parts = append(parts, s[:n])
		s = s[n:]
	}
	return parts
}
