package smtpd

import "testing"

// TestTraceparent: one valid field names the trace; a second one, or one that is not valid, names none.
func TestTraceparent(t *testing.T) {
	const (
		valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		trace = "0af7651916cd43dd8448eb211c80319c"
	)
	for header, want := range map[string]string{
		"Subject: x\r\nTraceparent: " + valid + "\r\n\r\n":                 trace,
		"traceparent:\r\n " + valid + "\r\n\r\n":                           trace, // folded
		"traceparent: " + valid + "\r\ntraceparent: " + valid + "\r\n\r\n": "",
		"traceparent: " + valid + "-x\r\n\r\n":                             "",
		"Subject: x\r\n\r\ntraceparent: " + valid + "\r\n":                 "",
	} {
		f := readHeader([]byte(header), "relay.test", nil)
		if f.traceID != want || (f.spanID != "") != (want != "") {
			t.Errorf("%q: %q, %q", header, f.traceID, f.spanID)
		}
	}
}
