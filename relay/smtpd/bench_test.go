package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"mailwhy/relay"
)

// BenchmarkAccept measures one session that sends message after message to a store that throws them away:
// the front door, and go-smtp alone with a backend that does nothing else.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKiB/frontdoor", size>>10), func(b *testing.B) {
			o := testOptions(&store{})
			o.Limits.Messages = 0
			o.Accept = func(_ context.Context, _ *relay.Message, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			}
			_, addr := start(b, o, Listen{})
			sendMany(b, addr, size)
		})
		b.Run(fmt.Sprintf("%dKiB/plain", size>>10), func(b *testing.B) {
			s := smtp.NewServer(smtp.BackendFunc(
				func(*smtp.Conn) (smtp.Session, error) { return discard{}, nil }))
			s.ErrorLog = log.New(io.Discard, "", 0)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			go s.Serve(l)
			b.Cleanup(func() { s.Close() })
			sendMany(b, l.Addr().String(), size)
		})
	}
}

type discard struct{}

func (discard) Reset()                               {}
func (discard) Logout() error                        { return nil }
func (discard) Mail(string, *smtp.MailOptions) error { return nil }
func (discard) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (discard) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// sendMany sends b.N messages with the envelope in one write.
func sendMany(b *testing.B, addr string, size int) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	expect := func(last string) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) > 3 && line[3] == ' ' {
				if !strings.HasPrefix(line, last) {
					b.Fatalf("%q", line)
				}
				return
			}
		}
	}
	expect("220")
	io.WriteString(c, "EHLO x\r\n")
	expect("250")
	content := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("A", 76)+"\r\n", size/78) + ".\r\n"
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c, "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
		expect("250")
		expect("250")
		expect("354")
		io.WriteString(c, content)
		expect("250")
	}
}
