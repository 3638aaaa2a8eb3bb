package mail

import (
	"strings"
	"testing"
)

// TestKeys: by what the message can be found, the strongest first. The grades that forgeries reach follow
// from it: what is not in the mail is no key, and only a code that is right is a return path.
func TestKeys(t *testing.T) {
	p := paths(t)
	mine, bobs := p.Address(theID), p.AddressFor(theID, "bob@c.example")
	const received = "queue_id " + theID + " by relay.shop.example; message_id 1@shop.example"
	bob := failed("bob@c.example")
	envelope := "\r\nOriginal-Envelope-Id: " + theID + bob
	withoutOriginal := func(s string) string { return strings.Replace(s, original, "Subject: x\r\n", 1) }
	for _, tt := range []struct {
		name, content, to, want string
	}{
		{"came to a return path", status("", bob), mine, "return_path " + theID + "; " + received},
		{"came to one in capitals", status("", bob), strings.ToUpper(mine),
			"return_path " + theID + "; " + received},
		{"delivered to one", status("Delivered-To: "+mine+"\r\n", bob), "app@shop.example",
			"return_path " + theID + "; " + received},
		{"sent to one, in a mailbox", status("To: <"+mine+">\r\n", bob), "",
			"return_path " + theID + "; " + received},
		{"forwarded, wrapped", status("X-Original-To: SRS0=9nJx=4E=bounces.shop.example="+
			strings.TrimSuffix(mine, "@bounces.shop.example")+"@f.example\r\n", bob), "",
			"return_path " + theID + "; " + received},
		{"for bob alone", status("", bob), bobs, "return_path " + theID + " of bob@c.example; " + received},
		{"for bob alone, about somebody else", status("", failed("ann@d.example")), bobs,
			"queue_id " + theID + "; " + received},
		{"for bob alone, about nobody", status("", ""), bobs, "queue_id " + theID + "; " + received},
		{"envelope id", withoutOriginal(status("", envelope)), "app@shop.example", "envelope_id " + theID},
		{"envelope id of the application's", withoutOriginal(status("", "\r\nOriginal-Envelope-Id: order-7"+
			bob)), "app@shop.example", ""},
		{"complaint about a mail with a return path", withoutOriginal(complaint("abuse",
			"Original-Mail-From: <"+mine+">\r\n")), "abuse@shop.example", "return_path " + theID},
		{"SES's own Message-ID", strings.Replace(status("", bob), "<1@shop.example>",
			"<0102018f-abc-000000@eu-west-1.amazonses.com>", 1), "app@shop.example",
			"queue_id " + theID + " by relay.shop.example; provider_id 0102018f-abc-000000; " +
				"message_id 0102018f-abc-000000@eu-west-1.amazonses.com"},
		{"of another domain that ends alike", strings.Replace(status("", bob), "<1@shop.example>",
			"<0102@notamazonses.com>", 1), "app@shop.example",
			"queue_id " + theID + " by relay.shop.example; message_id 0102@notamazonses.com"},

		// forgeries, by the grade that they can reach
		{"grade 1: needs the code", status("Delivered-To: b+"+strings.ToLower(theID)+
			"0000000000000@bounces.shop.example\r\n", bob), "b+" + strings.ToLower(theID) +
			"0000000000000@bounces.shop.example", received},
		{"grade 1: that of another message", status("", bob), p.Address(otherID),
			"return_path " + otherID + "; " + received},
		{"grade 2: needs the queue id", strings.Replace(status("", bob), theID, "order-7", 1),
			"app@shop.example", "message_id 1@shop.example"},
		{"grade 3: needs the Message-ID", withoutOriginal(status("", bob)), "app@shop.example", ""},
		{"grade 3: what it answers is weaker than what came back",
			status("References: <0@shop.example>\r\n", bob), "app@shop.example",
			"queue_id " + theID + " by relay.shop.example; message_id 1@shop.example; " +
				"message_id 0@shop.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Mail{Content: []byte(tt.content), From: NullSender}
			if tt.to != "" {
				m.To = []string{tt.to}
			}
			if got := said(one(t, m).Keys); got != tt.want {
				t.Errorf("keys\n %s\nwant\n %s", got, tt.want)
			}
		})
	}
}

// TestManyKeys: a mail that quotes a thousand ids costs no thousand searches.
func TestManyKeys(t *testing.T) {
	var many strings.Builder
	for range 1000 {
		many.WriteString(original)
	}
	e := one(t, &Mail{Content: []byte(strings.Replace(status("", failed("bob@c.example")), original,
		many.String()+strings.ReplaceAll(original, "1@shop", "2@shop"), 1))})
	if n := len(e.Keys); n != 3 { // the same ones, once each
		t.Errorf("%d keys: %s", n, said(e.Keys))
	}
	many.Reset()
	for i := range 90 {
		many.WriteString("Message-ID: <" + strings.Repeat("x", i+1) + "@shop.example>\r\n")
	}
	e = one(t, &Mail{Content: []byte(strings.Replace(status("", failed("bob@c.example")), original,
		many.String(), 1))})
	if n := len(e.Keys); n != maxKeys {
		t.Errorf("%d keys", n)
	}
}

// FuzzRead: any mail can be judged and read, and the two agree.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		status("", failed("bob@c.example")), complaint("abuse", ""), answer, vacation, unknown, "",
		"From x\n\n", "A: b\r\n c\r\n\r\n", ":\n:", "To: <a@b>, c@d\n\n",
	} {
		f.Add(seed, NullSender)
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, content, from string) {
		m := &Mail{Content: []byte(content), From: from, To: []string{paths(t).Address(theID)}}
		r := reader(t)
		verdict := r.Judge(m)
		list, err := r.Read(m.raw("bounces", came()))
		if (len(list) > 0) != (verdict == VerdictReport) || (err != nil) != (verdict == VerdictUnread) {
			t.Errorf("%s, %d events, error %v", verdict, len(list), err)
		}
		for _, e := range list {
			if e.ID == "" || e.Kind == "" || len(e.Keys) == 0 || e.Keys[0].Value != theID {
				t.Errorf("%+v", e)
			}
		}
	})
}
