package mail

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// intake is one with its journal and what it recorded.
func intake(t *testing.T, fail error) (*Intake, *journal, *[]string) {
	j, said := &journal{fail: fail}, &[]string{}
	return &Intake{Source: "bounces", Reader: reader(t), Journal: j, Now: func() time.Time { return came() },
		Record: func(v Verdict, err error) {
			s := string(v)
			if err != nil {
				s += ": " + err.Error()
			}
			*said = append(*said, s)
		}}, j, said
}

// TestTake: reports are journalled with their envelope, also those that nobody understands; people's mail and
// automatic answers are not kept.
func TestTake(t *testing.T) {
	in, j, said := intake(t, nil)
	report := &Mail{Content: []byte(status("", failed("bob@c.example"))), From: NullSender,
		To: []string{paths(t).Address(theID)}, Peer: "192.0.2.1"}
	for _, m := range []*Mail{
		report, {Content: []byte(unknown), From: NullSender},
		{Content: []byte(answer), From: "bob@c.example"}, {Content: []byte(vacation)},
	} {
		if _, err := in.Take(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(*said, " "); got != "report unread person automatic" {
		t.Errorf("recorded %s", got)
	}
	if len(j.kept) != 2 || !bytes.Equal(j.kept[0].Body, report.Content) ||
		Of(&j.kept[0]).Peer != "192.0.2.1" || j.kept[0].Source != "bounces" {
		t.Errorf("kept %+v", j.kept)
	}
}

func TestTakeInTrouble(t *testing.T) {
	full := errors.New("disk full")
	in, _, said := intake(t, full)
	_, err := in.Take(t.Context(), &Mail{Content: []byte(status("", failed("bob@c.example")))})
	if !errors.Is(err, full) || len(*said) != 1 || (*said)[0] != "report: journal: disk full" {
		t.Errorf("error %v, recorded %q", err, *said)
	}
	if v, err := in.Take(t.Context(), &Mail{Content: []byte(answer)}); v != VerdictPerson || err != nil {
		t.Errorf("a person's mail: %s, error %v", v, err)
	}
}

// TestTakeCutsShort: of a report that returns a large message the beginning is kept, which says it all.
func TestTakeCutsShort(t *testing.T) {
	in, j, _ := intake(t, nil)
	content := status("", failed("bob@c.example"))
	content = strings.Replace(content, "\r\n--B--\r\n", "\r\n"+strings.Repeat("x", 3<<20)+"\r\n--B--\r\n", 1)
	verdict, err := in.Take(t.Context(), &Mail{Content: []byte(content), From: NullSender})
	if verdict != VerdictReport || err != nil {
		t.Fatalf("%s, error %v", verdict, err)
	}
	if len(j.kept[0].Body) != MaxSize || !Of(&j.kept[0]).Cut {
		t.Errorf("kept %d bytes, cut: %v", len(j.kept[0].Body), Of(&j.kept[0]).Cut)
	}
	list, err := in.Reader.Read(&j.kept[0])
	if err != nil || len(list) != 1 || list[0].Recipient != "bob@c.example" || len(list[0].Keys) != 2 {
		t.Errorf("read as %+v, error %v", list, err)
	}
}
