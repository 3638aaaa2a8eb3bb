package httpapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailwhy/diagnose"
)

// TestBase64: the encoding is the usual one, in whatever pieces it is read, and an error of the content is
// never taken for its end.
func TestBase64(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, group - 1, group, group + 1, 3*group + 2} {
		in := make([]byte, size)
		for i := range in {
			in[i] = byte(rand.Uint32())
		}
		want := base64.StdEncoding.EncodeToString(in)
		for name, r := range map[string]io.Reader{"whole": Base64(bytes.NewReader(in)),
			"by one":  iotest.OneByteReader(Base64(bytes.NewReader(in))),
			"of ones": Base64(iotest.OneByteReader(bytes.NewReader(in))),
			"eof":     Base64(iotest.DataErrReader(bytes.NewReader(in)))} {
			got, err := io.ReadAll(r)
			if err != nil || string(got) != want {
				t.Errorf("%d bytes, %s: %d bytes of base64, %v", size, name, len(got), err)
			}
		}
	}
	disk := errors.New("input/output error")
	_, err := io.ReadAll(Base64(io.MultiReader(strings.NewReader("abcd"), iotest.ErrReader(disk))))
	if !errors.Is(err, disk) {
		t.Errorf("%v", err)
	}
}

// TestWords: what a provider says is kept, cut, and cleaned; a wait is written out.
func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ code, message, retry, want string }{
		{"MessageRejected", "no  way", "", "HTTP 400 MessageRejected: no  way"},
		{"", "", "", "HTTP 400"},
		{"X", "a\r\nb\x1b[31m", "", "HTTP 400 X: a??b?[31m"},
		{"X", "slow", "30", "HTTP 400 X: slow; retry after 30 seconds"},
		{"X", "slow", "Sun, 29 Nov 2026 12:02:00 GMT", "HTTP 400 X: slow; retry after 120 seconds"},
		{"X", "slow", "soon", "HTTP 400 X: slow"},
		{"X", "slow", "-1", "HTTP 400 X: slow"},
		{"X", "slow", "0.2", "HTTP 400 X: slow; retry after 1 seconds"},
	} {
		a := Answer{Status: 400, Header: http.Header{"Retry-After": {tt.retry}}}
		if got := a.Words(tt.code, tt.message, now); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	a := Answer{Status: 429, Header: http.Header{"Retry-After": {"30"}}}
	if got := a.Words("X", strings.Repeat("é", 5000), now); len(got) > maxWords ||
		!strings.HasSuffix(got, "retry after 30 seconds") {
		t.Errorf("%d bytes: ...%s", len(got), got[len(got)-40:])
	}
}

// TestByStatus: what a status alone means. Nothing that may have been taken is called refused.
func TestByStatus(t *testing.T) {
	for status, want := range map[int]Outcome{
		400: {Class: 4, Stage: diagnose.StageEndOfData},
		401: {Class: 5, Stage: diagnose.StageAuth, Fault: true, Reason: "api_credentials_refused"},
		403: {Class: 5, Stage: diagnose.StageMail, Reason: "api_permission_missing"},
		413: {Class: 5, Stage: diagnose.StageEndOfData, Reason: "message_too_large"},
		429: {Class: 4, Stage: diagnose.StageMail, Reason: "throttled"},
		500: {Class: 4, Stage: diagnose.StageEndOfData, Reason: "api_unavailable"},
		502: {Stage: diagnose.StageEndOfData, Reason: "api_unavailable", Uncertain: true},
		504: {Stage: diagnose.StageEndOfData, Reason: "api_unavailable", Uncertain: true},
	} {
		if got := ByStatus(status); got != want {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

// TestForeign: what certainly is not from an API, and what may be.
func TestForeign(t *testing.T) {
	const page = " <!DOCTYPE html><title>Sign in\r\n</title>"
	for _, tt := range []struct {
		status     int
		kind, body string
		want       bool
	}{
		{200, "application/json", `{"MessageId":"1"}`, false},
		{202, "", "", false},
		{200, "text/html; charset=utf-8", "", true},
		{202, "", page, true},
		{302, "", "", true},
		{307, "application/json", "{}", true},
		{407, "application/json", "{}", true},
		{403, "application/json", `{"message":"no"}`, false},
		{403, "", "", false},
		{403, "text/plain", page, true},
		{404, "text/html", page, true},
		{401, "text/html", page, false},
		{413, "text/html", page, false},
		{429, "text/html", page, false},
		{502, "text/html", page, false},
		{503, "text/html", page, false},
	} {
		a := Answer{Status: tt.status, Header: http.Header{"Content-Type": {tt.kind}}, Body: []byte(tt.body)}
		if got := a.Foreign(); got != tt.want {
			t.Errorf("%d %s %s: %t", tt.status, tt.kind, tt.body, got)
		}
	}
	a := Answer{Status: 302, Header: http.Header{"Location": {"https://login.test/?secret=x"}},
		Body: []byte(page)}
	o := a.NotReached()
	if o.Text != "HTTP 302, and not from the API: a redirect to login.test: Sign in" || o.Class == 2 {
		t.Errorf("%+v", o)
	}
}
