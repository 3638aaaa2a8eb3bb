package stamp

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailwhy/relay"
	"mailwhy/relay/internal/returnpath"
)

const theID = "06BZ1ZD7R0G40R40M30E2091"

// transaction is one of a message to ann and bob.
func transaction(from string) *relay.Transaction {
	m := &relay.Message{ID: theID, Envelope: relay.Envelope{From: from},
		Recipients: []relay.Recipient{{Address: "ann@d.example"}, {Address: "bob@c.example"}}}
	return &relay.Transaction{Message: m, From: from, Recipients: []int{0, 1}}
}

func TestStamp(t *testing.T) {
	paths, err := returnpath.New("b@bounces.shop.example", []byte("a key of the test, 32 bytes long"))
	if err != nil {
		t.Fatal(err)
	}
	all, bobs := paths.Address(theID), paths.AddressFor(theID, "bob@c.example")
	full := Maker{Paths: paths, EnvID: true, Provider: "postmark"}
	tag := Field{"X-PM-Metadata-mw", theID}
	for _, tt := range []struct {
		name   string
		maker  Maker
		change func(*relay.Transaction)
		to     []int
		want   Stamp
	}{
		{"nothing", Maker{}, nil, []int{0, 1}, Stamp{}},
		{"everything", full, nil, []int{0, 1}, Stamp{all, theID, tag}},
		{"for bob alone", Maker{Paths: paths, PerRecipient: true}, nil, []int{1}, Stamp{From: bobs}},
		{"for both, though each should have one", Maker{Paths: paths, PerRecipient: true}, nil, []int{0, 1},
			Stamp{From: all}},
		{"the null sender stays", full, func(tx *relay.Transaction) { tx.From = "" }, []int{0},
			Stamp{"", theID, tag}},
		{"the application's ENVID stays", full,
			func(tx *relay.Transaction) { tx.Message.Envelope.EnvID = "order-7" }, []int{0},
			Stamp{all, "", tag}},
		{"a report of ours", full, func(tx *relay.Transaction) { tx.Message.Report = true }, []int{0},
			Stamp{}},
		{"an id of another form", full, func(tx *relay.Transaction) { tx.Message.ID = "x\r\ny" }, []int{0},
			Stamp{}},
		{"a provider without a tag", Maker{Provider: "ses"}, nil, []int{0}, Stamp{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tx := transaction("app@shop.example")
			if tt.change != nil {
				tt.change(tx)
			}
			if got := tt.maker.Stamp(tx, tt.to); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestTags: each tag is what its provider returns, and only those that no recipient sees hide.
func TestTags(t *testing.T) {
	for _, tt := range []struct {
		provider, line string
		hides          bool
	}{
		{"sendgrid", `X-SMTPAPI: {"unique_args":{"mw":"ID"}}`, true},
		{"postmark", "X-PM-Metadata-mw: ID", true},
		{"sparkpost", `X-MSYS-API: {"metadata":{"mw":"ID"}}`, false},
		{"mailjet", "X-MJ-CustomID: ID", false},
		{"mandrill", `X-MC-Metadata: {"mw":"ID"}`, false},
		{"ses", "", false}, {"mailgun", "", false}, {"brevo", "", false}, {"smtp2go", "", false},
		{"", "", false},
	} {
		tag, known := TagOf(tt.provider, "ID")
		line := ""
		if known {
			line = strings.TrimSuffix(tag.line(), "\r\n")
		}
		if line != tt.line || Hides(tt.provider) != tt.hides {
			t.Errorf("%s: %q, hides: %v", tt.provider, line, Hides(tt.provider))
		}
	}
}

// closer is a content that says when it was closed.
type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestAdd(t *testing.T) {
	f := Field{"X-SMTPAPI", "{}"}
	const line = "X-SMTPAPI: {}\r\n"
	big := "Subject: " + strings.Repeat("x", 40<<10) + "\r\n\r\nbody"
	for _, tt := range []struct {
		name, content string
		added         bool
	}{
		{"usual", "Subject: x\r\nTo: a@b\r\n\r\nbody\r\n", true},
		{"in the body only", "Subject: x\r\n\r\nX-SMTPAPI: {1}\r\n", true},
		{"in a value only", "Subject: X-SMTPAPI: {1}\r\n X-SMTPAPI: {2}\r\n\r\n", true},
		{"with a longer name", "X-SMTPAPI-2: {1}\r\n\r\n", true},
		{"empty header", "\r\nbody", true},
		{"no body", "Subject: x\r\n", true},
		{"nothing", "", true},
		{"a header of many reads", big, true},
		{"there", "X-SMTPAPI: {1}\r\n\r\nbody", false},
		{"there, in lower case and late", "Subject: x\r\nx-smtpapi : {1}\r\n\r\nbody", false},
		{"there, folded", "Subject: x\r\nX-SMTPAPI:\r\n {1}\r\n\r\nbody", false},
		{"there, last of a header without a body", "Subject: x\r\nX-SMTPAPI: {1}", false},
		{"a header too long to tell", "Subject: " + strings.Repeat("x", maxHeader) + "\r\n\r\n", false},
	} {
		for name, reader := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader,
			"with its end": iotest.DataErrReader,
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				c := &closer{Reader: reader(strings.NewReader(tt.content))}
				s := f.Add(c)
				got, err := io.ReadAll(s)
				if err != nil {
					t.Fatal(err)
				}
				want := tt.content
				if tt.added {
					want = line + want
				}
				if string(got) != want {
					t.Errorf("got %.60q..., want %.60q...", got, want)
				}
				if s.Close(); !c.closed {
					t.Error("the content stays open")
				}
			})
		}
	}
	if f.Size() != int64(len(line)) || (Field{}).Size() != 0 {
		t.Errorf("size %d", f.Size())
	}
}

// TestAddKeepsErrors: a content that breaks off is never whole, wherever that is.
func TestAddKeepsErrors(t *testing.T) {
	broken := errors.New("broken")
	content := "Subject: x\r\n\r\nbody"
	for n := range len(content) + 1 {
		r := io.MultiReader(strings.NewReader(content[:n]), iotest.ErrReader(broken))
		got, err := io.ReadAll(Field{"X-SMTPAPI", "{}"}.Add(io.NopCloser(r)))
		if !errors.Is(err, broken) || !strings.HasSuffix(string(got), content[:n]) {
			t.Errorf("broken at %d: %q, error %v", n, got, err)
		}
	}
}

// FuzzAdd: the content behind the field is what it was, and a field that is there is never there twice.
func FuzzAdd(f *testing.F) {
	for _, seed := range []string{"", "\r\n", "A: b\r\n\r\nc", "x-A: 1\r\n\r\n", "X-A:", "X-A", "\nX-A: 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		field := Field{"X-A", "1"}
		got, err := io.ReadAll(field.Add(io.NopCloser(strings.NewReader(content))))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != content && string(got) != field.line()+content {
			t.Errorf("%q became %q", content, got)
		}
	})
}
