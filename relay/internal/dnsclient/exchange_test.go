package dnsclient

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// serve answers one question over UDP with what reply makes of it, in order.
func serve(t *testing.T, reply func(q dnsmessage.Message) []dnsmessage.Message) *Client {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buffer := make([]byte, 512)
		n, from, err := pc.ReadFrom(buffer)
		var q dnsmessage.Message
		if err != nil || q.Unpack(buffer[:n]) != nil {
			return
		}
		for _, m := range reply(q) {
			m.Response = true
			packed, err := m.Pack()
			if err != nil {
				t.Error(err)
			}
			pc.WriteTo(packed, from)
		}
	}()
	return &Client{Servers: []string{pc.LocalAddr().String()}, Timeout: 10 * time.Second}
}

func txt(name dnsmessage.Name, text string) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{text}}}
}

// TestForgedReplies: what does not answer the question is passed over.
func TestForgedReplies(t *testing.T) {
	c := serve(t, func(q dnsmessage.Message) []dnsmessage.Message {
		name := q.Questions[0].Name
		forged, other, good := q, q, q
		forged.ID++
		forged.Answers = []dnsmessage.Resource{txt(name, "forged")}
		other.Questions = []dnsmessage.Question{q.Questions[0]}
		other.Questions[0].Name = dnsmessage.MustNewName("example.net.")
		other.Answers = []dnsmessage.Resource{txt(name, "other")}
		good.Answers = []dnsmessage.Resource{txt(name, "good")}
		return []dnsmessage.Message{forged, other, good}
	})
	if a, err := c.Lookup(t.Context(), "example.com", TXT); err != nil || a.TXT[0] != "good" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestCodes: how a server's refusal is named, with the code's upper bits in the OPT record.
func TestCodes(t *testing.T) {
	for code, want := range map[dnsmessage.RCode]string{
		dnsmessage.RCodeRefused: "REFUSED", 5 + 16: "RCODE 21", 16: "RCODE 16",
	} {
		c := serve(t, func(q dnsmessage.Message) []dnsmessage.Message {
			q.RCode = code & 0xf
			var opt dnsmessage.ResourceHeader
			opt.SetEDNS0(bufferSize, code, false)
			q.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
			return []dnsmessage.Message{q}
		})
		_, err := c.Lookup(t.Context(), "example.com", TXT)
		if err == nil || !strings.HasSuffix(err.Error(), "the server answered "+want) {
			t.Errorf("code %d: %v, want %s", code, err, want)
		}
	}
}

// TestNoAnswer: silence ends with the client's timeout.
func TestNoAnswer(t *testing.T) {
	c := serve(t, func(dnsmessage.Message) []dnsmessage.Message { return nil })
	c.Timeout = 20 * time.Millisecond
	if a, err := c.Lookup(t.Context(), "example.com", TXT); err == nil {
		t.Errorf("%+v without an answer", a)
	}
}

// TestOddRecords: a target that has no form in text is left out, and the rest is read.
func TestOddRecords(t *testing.T) {
	packed := []byte("\x00\x01\x81\x80\x00\x00\x00\x02\x00\x00\x00\x00" +
		"\x01a\x00\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x06\x04b.cd\x00" + // PTR: one label with a dot
		"\x01a\x00\x00\x0c\x00\x01\x00\x00\x00\x00\x00\x03\x01e\x00") // PTR e.
	r, err := parse(packed)
	if err != nil {
		t.Fatal(err)
	}
	if a := r.answer("a", PTR); len(a.Names) != 1 || a.Names[0] != "e" {
		t.Errorf("%+v", a)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x00\x01\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00" +
		"\x01a\x00\x00\x10\x00\x01\x00\x00\x00\x00\x00\x02\x01b"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if r, err := parse(message); err == nil {
			r.answer("a", TXT)
		}
	})
}
