package imitation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mailwhy/relay/smtptest"
)

func TestStrict(t *testing.T) {
	good := `[[imitation]]
name = "a"
host = "smtp.a.test"
ehlo = ["{host}", "STARTTLS", "AUTH PLAIN"]
idle = { after = "1m" }
`
	all, err := parse([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if a := all[0]; a.Greeting != "220 {host} ESMTP" || a.Accepted == "" || a.NullSender.Reply != "" {
		t.Errorf("plain words: %+v", a)
	}
	all, err = parse([]byte("[[imitation]]\nname = \"a\"\nhost = \"a.test\"\nsize = { limit = 9 }"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"{host}", "PIPELINING", "8BITMIME", "STARTTLS", "SIZE 9", "AUTH PLAIN LOGIN"}
	if a := all[0]; !slices.Equal(a.Ehlo, want) || time.Duration(a.Idle.After) != 5*time.Minute {
		t.Errorf("a row with nothing else: %+v", a)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"idle", "colour = 1\nidle", "colour"},
		{`name = "a"`, ``, "are required"},
		{`, "AUTH PLAIN"`, ``, "no AUTH line"},
		{`"STARTTLS", `, ``, "STARTTLS is not offered"},
		{"1m", "-1s", "idle.after is negative"},
		{"1m", "soon", "soon"},
		{"idle", "seen = [\"accepted\"]\nidle", "accepted has no words"},
		{"idle", "seen = [\"colour\"]\nidle", "colour has no words"},
		{"idle", "unverified = { at = \"never\" }\nidle", "not a valid stage"},
		{"idle", "null_sender = { reply = \"501 no\" }\nidle", "null_sender: not a valid stage"},
		{"idle", "connections = { limit = 1 }\nidle", "connections: not a valid stage"},
	} {
		_, err := parse([]byte(strings.Replace(good, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.new, err, tt.want)
		}
	}
}

func TestByName(t *testing.T) {
	if i, err := ByName("ses"); err != nil || i.Name != "ses" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := ByName("aws"); err == nil || !strings.Contains(err.Error(), "there are ses, m365, gmail,") {
		t.Errorf("an unknown name: %v", err)
	}
}

// TestTextsAreReplies: every text is a reply of the right class and has only holes that are known.
func TestTextsAreReplies(t *testing.T) {
	all, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	positive := map[string]string{"greeting": "220", "auth_ok": "235", "accepted": "250"}
	for _, i := range all {
		b := &behaviour{i: i}
		for key, text := range i.words() {
			said := b.fill(*text, smtptest.Command{Address: "a@b.test", User: "u", Line: "EHLO c.test"})
			for line := range strings.SplitSeq(said, "\n") {
				want := positive[key]
				ok := strings.HasPrefix(line, want)
				if want == "" {
					ok = said == "" || line != "" && strings.Contains("45", line[:1])
				}
				if !ok || strings.ContainsAny(line, "{}") {
					t.Errorf("%s: %s: %q", i.Name, key, line)
				}
			}
		}
	}
}
