package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwhy/relay/smtptest/oauthtest"
)

// dumps are all the ways in which a value ends in a log or an error.
func dumps(v any) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v\n%+v\n%#v\n%s\n%q\n", v, v, v, v, v)
	j, _ := json.Marshal(v)
	b.Write(j)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	return b.String()
}

// TestNothingSecretIsShown runs every way to a token with marked secrets, on success and on every refusal of
// the table, and looks for them in what is logged, returned and dumped.
func TestNothingSecretIsShown(t *testing.T) {
	answers := []*oauthtest.Answer{
		nil, {Status: 500, Body: "marked-access"}, {Body: "marked-access"}, {Close: true},
		{Status: 302, Header: map[string]string{"Location": "https://x.test/?secret=marked"}}}
	for _, tt := range refusals() {
		answers = append(answers, tt.answer)
	}
	for i, a := range answers {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { showNothing(t, a) })
		})
	}
}

func showNothing(t *testing.T, a *oauthtest.Answer) {
	s := oauthtest.New(oauthtest.Options{ClientID: clientID, Rotate: true,
		Script: func(r oauthtest.Request) *oauthtest.Answer {
			if a == nil || r.Path == "/device" {
				return nil
			}
			echo := *a // an endpoint that repeats what it was sent
			for _, name := range secretParams {
				if v := r.Form.Get(name); v != "" && strings.Contains(echo.Body, "error_description\":\"") {
					echo.Body = strings.Replace(echo.Body, `error_description":"`,
						`error_description":"`+v+" ", 1)
				}
			}
			return &echo
		}})
	file := store(t, s.URL("/token"), s.Refresh())
	proof := &ClientSecret{Read: func() (string, error) { return "marked-secret", nil }}
	federated := &Federated{File: write(t, "token", "marked-assertion")}
	sources := []Source{
		withSecret(s, "marked-secret"),
		&Refresh{Store: file, HTTP: s},
		&Refresh{Store: file, HTTP: s, Proof: proof},
		&ClientCredentials{Scope: "x", Endpoint: Endpoint{TokenURL: s.URL("/token"), ClientID: clientID,
			HTTP: s, Proof: federated}},
	}
	var seen bytes.Buffer
	log := slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
	look := func(values ...any) {
		for _, v := range values {
			seen.WriteString(dumps(v))
		}
	}
	for _, source := range sources {
		c := NewCached("up", source, log)
		tok, err := c.Token(t.Context())
		status := c.Status()
		look(tok, &tok, err, status, &status, struct{ t Token }{tok})
		if c, ok := source.(*ClientCredentials); ok {
			bare := ClientCredentials{Endpoint: c.Endpoint, Scope: c.Scope}
			bare.Endpoint.HTTP = nil // the test's endpoint, which knows them
			look(bare, bare.Endpoint, bare.Endpoint.Proof)
		}
		stored, err := file.Load(t.Context())
		look(stored, err, file)
		c.Close()
	}
	l := login(s, s)
	in, err := l.Device(t.Context(), func(p Prompt) { look(p) })
	l.Endpoint.HTTP = nil
	look(in, err, *l)
	time.Sleep(time.Second)
	if i := strings.Index(seen.String(), "marked"); i >= 0 {
		t.Errorf("shown: ...%q", seen.String()[max(i-200, 0):min(i+100, seen.Len())])
	}
}
