package mechanism

import (
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// TestSCRAMVector is the exchange of RFC 7677, 3.
func TestSCRAMVector(t *testing.T) {
	s, err := newSCRAM("user", "pencil", func() string { return "rOprNGfwEbeRWgbNEkqO" })
	if err != nil {
		t.Fatal(err)
	}
	name, first, err := s.Start()
	if name != "SCRAM-SHA-256" || string(first) != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" || err != nil {
		t.Fatalf("%s %q %v", name, first, err)
	}
	second, err := s.Next([]byte("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
	want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
		"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	if string(second) != want || err != nil {
		t.Fatalf("%q %v", second, err)
	}
	if s.Proved() == nil {
		t.Error("proved before the server's proof")
	}
	last, err := s.Next([]byte("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))
	if len(last) != 0 || err != nil || s.Proved() != nil {
		t.Errorf("%q %v, proved: %v", last, err, s.Proved())
	}
}

func TestSCRAMRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ challenges []string }{
		"wrong proof": {[]string{"r=nXserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="}},
		"refused":         {[]string{"r=nXserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "e=invalid-proof"}},
		"other nonce":     {[]string{"r=server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"}},
		"few iterations":  {[]string{"r=nXserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1"}},
		"many iterations": {[]string{"r=nXserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000"}},
		"garbage":         {[]string{"hello"}},
	} {
		s, err := newSCRAM("user", "marked", func() string { return "nX" })
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		for _, c := range tt.challenges {
			_, err = s.Next([]byte(c))
		}
		if err == nil || s.Proved() == nil || strings.Contains(err.Error(), "marked") {
			t.Errorf("%s: %v, proved: %v", name, err, s.Proved())
		}
	}
	if _, err := NewSCRAMSHA256("user", "marked\u0007"); err == nil || strings.Contains(err.Error(),
		"marked") {
		t.Error(err)
	}
}

// TestSCRAMServer is an exchange with the library's own server.
func TestSCRAMServer(t *testing.T) {
	key := scram.KeyFactors{Salt: "salt", Iters: 4096}
	client, _ := scram.SHA256.NewClient("us,er=", "pencil", "")
	known, err := client.GetStoredCredentialsWithError(key)
	if err != nil {
		t.Fatal(err)
	}
	server, _ := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return known, nil })
	conv := server.NewConversation()
	c, err := NewSCRAMSHA256("us,er=", "pencil")
	if err != nil {
		t.Fatal(err)
	}
	_, says, _ := c.Start()
	for !conv.Done() {
		challenge, err := conv.Step(string(says))
		if err != nil {
			t.Fatal(err)
		}
		if says, err = c.Next([]byte(challenge)); err != nil {
			t.Fatal(err)
		}
	}
	if c.(Prover).Proved() != nil || conv.Username() != "us,er=" {
		t.Errorf("%v, as %q", c.(Prover).Proved(), conv.Username())
	}
}

func TestOAuthBearerEscapes(t *testing.T) {
	c, err := NewOAuthBearer(Bearer{Username: "a=b,c", Token: "t", Host: "h.test.", Port: 25})
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := c.Start()
	if want := "n,a=a=3Db=2Cc,\x01host=h.test\x01port=25\x01auth=Bearer t\x01\x01"; string(first) != want {
		t.Errorf("%q, want %q", first, want)
	}
	if farewell, err := c.Next([]byte(`{"status":"invalid_token"}`)); string(farewell) != "\x01" ||
		err != nil {
		t.Errorf("answered %q, %v", farewell, err)
	}
	if c.Refusal() != "status invalid_token" {
		t.Error(c.Refusal())
	}
	if _, err := c.Next(nil); err == nil {
		t.Error("a third step")
	}
}
