package rewrite

import "testing"

// TestMasquerade: subdomains are cut off the sender and the header, as Postfix does, and nothing else
// changes.
func TestMasquerade(t *testing.T) {
	w := newWorld(t, Options{Rules: []Rule{{Name: "hosts",
		Masquerade: []string{"!keep.shop.example", "eu.Shop.example", "shop.example"}}}})
	for from, want := range map[string]string{
		"app@web1.shop.example":     "app@shop.example",
		"app@a.b.shop.example":      "app@shop.example",
		"app@web1.EU.shop.example":  "app@eu.shop.example",
		"app@eu.shop.example":       "app@eu.shop.example",
		"app@x.keep.shop.example":   "app@x.keep.shop.example",
		"app@shop.example":          "app@shop.example",
		"app@workshop.example":      "app@workshop.example",
		`"a@b"@web1.shop.example`:   `"a@b"@shop.example`,
		"app@shop.example.evil.com": "app@shop.example.evil.com",
		"":                          "",
	} {
		m := message(from, "a@there.example")
		m.HeaderFrom = "web1.shop.example"
		tx := w.transaction(m, "From: x\r\n\r\n")
		if tx.From != want {
			t.Errorf("sender %q became %q, want %q", from, tx.From, want)
		}
		if tx.FromDomain() != "shop.example" {
			t.Errorf("the domain of From is %q", tx.FromDomain())
		}
	}
	tx := w.transaction(message("app@web1.shop.example", "a@there.example"),
		"From: \"Web, one\" <app@web1.shop.example>\r\nTo: b@there.example,\r\n"+
			" Ops <ops@db.shop.example> (on call),\r\n\tc@keep.shop.example\r\n"+
			"Subject: from app@web1.shop.example\r\n\r\napp@web1.shop.example\r\n")
	want := "From: \"Web, one\" <app@shop.example>\r\nTo: b@there.example,\r\n" +
		" Ops <ops@shop.example> (on call),\r\n\tc@keep.shop.example\r\n" +
		"Subject: from app@web1.shop.example\r\n\r\napp@web1.shop.example\r\n"
	if got := sent(t, tx); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
