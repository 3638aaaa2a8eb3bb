package content

import (
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mailwhy/relay"
)

// split divides a content into its header fields and its body, as docs/content.md says, in another way than
// the Mender.
func split(content string) (fields []string, body string) {
	field := regexp.MustCompile("^[!-9;-~]+[ \t]*:")
	mbox := regexp.MustCompile("^>*From [ \t]*($|[^ \t:])")
	lines := strings.SplitAfter(content, "\r\n")
	for i, line := range lines {
		switch {
		case line == "\r\n":
			return fields, strings.Join(lines[i+1:], "")
		case len(fields) == 0 && mbox.MatchString(line):
		case field.MatchString(line):
			fields = append(fields, line)
		case line != "" && strings.Contains(" \t", line[:1]) && len(fields) > 0:
			fields[len(fields)-1] += line
		default:
			return fields, strings.Join(lines[i:], "")
		}
	}
	return fields, ""
}

// names are the names of fields, in lower case.
func names(fields []string) (list []string) {
	for _, f := range fields {
		name, _, _ := strings.Cut(f, ":")
		list = append(list, strings.ToLower(strings.TrimRight(name, " \t")))
	}
	return list
}

func count(list []string, name string) (n int) {
	for _, have := range list {
		if have == name {
			n++
		}
	}
	return n
}

// FuzzMend: the output is a message whose body is that of the input, byte for byte, and whose header has the
// input's fields, less the removed ones and with the added ones, each at most once; however it is read.
func FuzzMend(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "Disk full\r\nBcc: x@y.test\r\n", " blank: first\r\n\r\nb\r\n", whole + "\r\nFrom: x\r\n",
		">From root Sat Nov 28\r\nFrom x\r\nFrom: root\r\nBcc : a,\r\n b\r\n\r\nBcc: c\r\n",
		"Message-ID:\r\n \r\nDate:\t\r\nFrom: <>\r\n\r\n", "X: y\r\n \r\nbody\r\n\r\nFrom: z\r\n",
		"DKIM-Signature: v=1; h=Bcc:From:date\r\nbcc: a\r\nTo: \"a b\", (c) <d>, e..f@g\r\n\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		// the front door takes no other line ends
		in = strings.ReplaceAll(strings.ReplaceAll(in, "\r", ""), "\n", "\r\n")
		got, m := mend(t, options(), in)
		inFields, inBody := split(in)
		fields, body := split(got)
		if body != inBody {
			t.Fatalf("%q became %q: the body is %q, was %q", in, got, body, inBody)
		}
		checkFields(t, in, names(inFields), names(fields), m.Changed)
		if _, err := mail.ReadMessage(strings.NewReader(got)); err != nil && plain(inFields) {
			t.Fatalf("%q became %q: %v", in, got, err)
		}
		slow, err := io.ReadAll(New(options()).Mend(&relay.Message{ID: m.ID, Arrived: m.Arrived,
			Envelope: m.Envelope}, true, iotest.OneByteReader(strings.NewReader(in))))
		if err != nil || string(slow) != got {
			t.Fatalf("%q read by the byte: %v, %q, want %q", in, err, slow, got)
		}
		if again, _ := mend(t, options(), got); again != got {
			t.Fatalf("%q mended once more: %q, was %q", in, again, got)
		}
	})
}

// plain reports whether net/mail takes the names and values of all fields.
func plain(fields []string) bool {
	usual := regexp.MustCompile("^[A-Za-z-]+:[ -~\t\r\n]*$")
	return !slices.ContainsFunc(fields, func(f string) bool { return !usual.MatchString(f) })
}

// checkFields compares the names of the fields before and after.
func checkFields(t *testing.T, in string, before, after, changed []string) {
	t.Helper()
	signed := slices.Contains(before, "dkim-signature") || slices.Contains(before, "arc-message-signature")
	for _, name := range after {
		switch name {
		case "x-mailbox-line":
		case "message-id", "date", "from":
			if before := count(before, name); count(after, name) > max(before, 1) {
				t.Fatalf("%q: %d %s, before %d", in, count(after, name), name, before)
			}
		default:
			if count(after, name) > count(before, name) {
				t.Fatalf("%q: %s came from nowhere", in, name)
			}
		}
	}
	for _, name := range before {
		dropped := slices.Contains(changed, name+" removed")
		if lost := count(after, name) < count(before, name); lost && !dropped &&
			!slices.Contains(changed, "empty "+name+" removed") {
			t.Fatalf("%q: %s was lost", in, name)
		}
		if dropped && !signed && count(after, name) > 0 {
			t.Fatalf("%q: %s was not removed", in, name)
		}
	}
	for _, name := range []string{"message-id", "date", "from"} {
		if !signed && count(after, name) == 0 {
			t.Fatalf("%q: no %s", in, name)
		}
	}
}

// FuzzMendAddresses: of a value nothing is lost but dots, and what is done is done once.
func FuzzMendAddresses(f *testing.F) {
	for _, seed := range []string{" root (Cron)", ` "a, b" <c>, d..e@f`, " g: h, i;", " <@a:b>", "\r\n j"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a := addressMender{domain: "d.test", left: maxAddresses}
		got := a.mend([]byte(in))
		if (a.completed || a.quoted || a.undotted) != (string(got) != in) {
			t.Fatalf("%q became %q, %+v", in, got, a)
		}
		rest := strings.ReplaceAll(in, ".", "")
		for _, c := range got { // in is what is left of got when some of its bytes are taken out
			if rest != "" && rest[0] == c {
				rest = rest[1:]
			}
		}
		if rest != "" || strings.Count(string(got), "\n") != strings.Count(in, "\n") {
			t.Fatalf("%q became %q", in, got)
		}
		if again := a.mend(got); string(again) != string(got) && len(got) < 2000 {
			t.Fatalf("%q became %q, then %q", in, got, again)
		}
	})
}
