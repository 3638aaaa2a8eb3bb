package sesapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/smtptest/apitest"
	"mailwhy/relay/upstream/httpapi"
	"mailwhy/relay/upstream/sesapi"
	"mailwhy/relay/upstream/sesapi/awsauth"
)

// hop is an upstream of the API, and a server for it.
type hop struct {
	*httpapi.Upstream
	ses    *apitest.SES
	client *sesapi.Client
}

// options are those of a test.
func options(t *testing.T, ses *apitest.SES) httpapi.Options {
	t.Helper()
	endpoint, err := url.Parse(ses.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return httpapi.Options{
		Name: "ses", Endpoint: endpoint, RcptMax: sesapi.MaxRecipients, Size: sesapi.MaxSize, Connections: 4,
		TLS:     tlsconf.Client{Mode: tlsconf.Implicit, CAFile: ses.CAFile, MinVersion: tls.VersionTLS12},
		MaxIdle: time.Minute, Grace: 2 * time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Timeouts: httpapi.Timeouts{Connect: 5 * time.Second, Command: 5 * time.Second,
			Write: 5 * time.Second, EndOfData: 10 * time.Second},
	}
}

// newHop makes an upstream; source is where its credentials come from, nil for the key that ses knows.
func newHop(t *testing.T, ses *apitest.SES, source func(*httpapi.Client) awsauth.Source,
	change ...func(*httpapi.Options)) *hop {
	t.Helper()
	o := options(t, ses)
	for _, f := range change {
		f(&o)
	}
	h, err := httpapi.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	var s awsauth.Source = &awsauth.Static{AccessKeyID: apitest.Key,
		Secret: func() (string, error) { return apitest.Secret, nil }}
	if source != nil {
		s = source(h)
	}
	c := sesapi.NewClient(sesapi.Options{Options: o, Region: "eu-west-1",
		Credentials: awsauth.NewCached("ses", s, o.Log, time.Now)}, h)
	u, err := httpapi.New(o, h, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return &hop{u, ses, c}
}

// webIdentity is a role with its token in a file.
func webIdentity(t *testing.T, ses *apitest.SES, token string) (file string,
	source func(*httpapi.Client) awsauth.Source) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, func(h *httpapi.Client) awsauth.Source {
		return &awsauth.WebIdentity{RoleARN: "arn:aws:iam::123456789012:role/mailwhy", TokenFile: file,
			Session: "mailwhy", Endpoint: ses.Server.URL + "/", Client: h}
	}
}

const content = "From: Shop <app@shop.example>\r\nTo: somebody@else.example\r\nSubject: Order 7\r\n\r\n" +
	"caf\xc3\xa9 \x00 & <body>\r\n"

// message is a transaction.
func message(text string, from string, to ...string) *relay.Transaction {
	m := &relay.Message{ID: "1", Size: int64(len(text)), Envelope: relay.Envelope{From: from}}
	t := &relay.Transaction{Message: m, From: from,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	for i, a := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Address: a})
		t.Recipients = append(t.Recipients, i)
	}
	return t
}

// relay sends one transaction.
func (h *hop) relay(t *testing.T, tx *relay.Transaction) (result relay.Result) {
	t.Helper()
	calls := 0
	h.Relay(context.Background(), tx, func() *relay.Transaction { return nil },
		func(_ *relay.Transaction, r relay.Result) { result, calls = r, calls+1 })
	if calls != 1 {
		t.Fatalf("done was called %d times", calls)
	}
	return result
}

var errDisk = errors.New("input/output error")

// broken is a content that cannot be read to its end.
type broken struct{ left int }

func (b *broken) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errDisk
	}
	n := min(len(p), b.left)
	b.left -= n
	clear(p[:n])
	return n, nil
}

func (b *broken) Close() error { return nil }
