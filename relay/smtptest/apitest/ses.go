// Package apitest imitates the HTTP APIs of providers, for tests: Amazon SES with STS, and Microsoft Graph.
// The servers check what they get by code of their own: the signature, the token, the encoding, the limits.
package apitest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwhy/relay/smtptest"
)

// TB is the part of testing.TB that the servers need.
type TB interface {
	smtptest.TB
	TempDir() string
}

// Mail is a mail that a server was offered.
type Mail struct {
	From    string // of the envelope, as far as the API has it
	To      []string
	Content []byte // nil if the server was told not to keep it
	Size    int
	Key     string // access key id or token
	Path    string
}

// Answer is what a server says instead of taking a mail.
type Answer struct {
	Status     int
	Code, Text string // of the provider's error
	RetryAfter string
	Page       string // HTML, as something else than the API answers
	Hang       bool   // read the request, then close the connection without an answer
	Cut        bool   // close the connection while the request is being read
}

// SES imitates SES and STS of the region eu-west-1.
type SES struct {
	Server *httptest.Server
	CAFile string
	// Script decides about a mail before it is taken; nil, or a nil Answer: it is taken.
	Script func(m *Mail) *Answer
	// Drop says that contents are not kept.
	Drop bool

	mu       sync.Mutex
	keys     map[string]string // secrets by access key id
	sessions map[string]string // session tokens by access key id
	mails    []Mail
	accounts int
	assumed  []url.Values
	account  string // answer of GetAccount
	denied   bool   // GetAccount is not allowed
	stsSays  *Answer
	life     time.Duration
	missing  []string // identities that the account does not have
}

// Key and Secret are the access key that a new SES knows.
const (
	Key    = "AKIAEXAMPLEEXAMPLE01"
	Secret = "a+secret/access/key/of/forty/characters/"
)

// StartSES starts a server, which stops with the test.
func StartSES(tb TB) *SES {
	s := &SES{keys: map[string]string{Key: Secret}, sessions: map[string]string{}, life: time.Hour}
	s.SetAccount(14, 50000, 10, true, true)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Server.StartTLS()
	tb.Cleanup(s.Server.Close)
	s.CAFile = caFile(tb, s.Server)
	return s
}

// caFile writes the certificate of a server to a file.
func caFile(tb TB, s *httptest.Server) string {
	name := filepath.Join(tb.TempDir(), "ca.pem")
	block := "-----BEGIN CERTIFICATE-----\n" +
		base64.StdEncoding.EncodeToString(s.Certificate().Raw) + "\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(name, []byte(block), 0o600); err != nil {
		tb.Fatalf("%v", err)
	}
	return name
}

// SetAccount sets what GetAccount answers.
func (s *SES) SetAccount(rate, day, sent float64, production, sending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account = fmt.Sprintf(`{"DedicatedIpAutoWarmupEnabled":false,"EnforcementStatus":"HEALTHY",`+
		`"ProductionAccessEnabled":%t,"SendQuota":{"Max24HourSend":%v,"MaxSendRate":%v,`+
		`"SentLast24Hours":%v},"SendingEnabled":%t}`, production, day, rate, sent, sending)
}

// Deny refuses GetAccount and GetEmailIdentity, as a policy does that allows sending alone.
func (s *SES) Deny() { s.set(func() { s.denied = true }) }

// Missing names identities that the account does not have; all others are verified.
func (s *SES) Missing(names ...string) { s.set(func() { s.missing = names }) }

// Revoke makes every access key unknown, until the next role is assumed.
func (s *SES) Revoke() { s.set(func() { clear(s.keys) }) }

// Life is how long the sessions of roles last that are assumed from now on.
func (s *SES) Life(d time.Duration) { s.set(func() { s.life = d }) }

// STS sets what STS answers instead of credentials; nil: it gives them.
func (s *SES) STS(a *Answer) { s.set(func() { s.stsSays = a }) }

func (s *SES) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Mails are the mails that were taken.
func (s *SES) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Assumed are the requests for a role.
func (s *SES) Assumed() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.assumed)
}

// Asked is how often GetAccount was called.
func (s *SES) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts
}

func (s *SES) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" && r.Method == http.MethodPost {
		s.assume(w, r)
		return
	}
	body, sum, err := s.read(r)
	if err != nil {
		return // the client went away
	}
	if a := s.verify(r, sum); a != nil {
		a.write(w)
		return
	}
	switch {
	case r.URL.Path == "/v2/email/account":
		s.getAccount(w)
	case strings.HasPrefix(r.URL.Path, "/v2/email/identities/"):
		s.getIdentity(w, strings.TrimPrefix(r.URL.Path, "/v2/email/identities/"))
	case r.URL.Path == "/v2/email/outbound-emails":
		s.send(w, r, body)
	default:
		(&Answer{Status: 404, Code: "UnknownOperationException"}).write(w)
	}
}

// read reads the body, and its SHA-256.
func (s *SES) read(r *http.Request) (body []byte, sum string, err error) {
	h := sha256.New()
	in := io.TeeReader(r.Body, h)
	if s.Drop {
		head := make([]byte, 4096)
		n, _ := io.ReadFull(in, head)
		_, err = io.Copy(io.Discard, in)
		body = head[:n]
	} else {
		body, err = io.ReadAll(in)
	}
	return body, hex.EncodeToString(h.Sum(nil)), err
}

func (s *SES) getAccount(w http.ResponseWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts++
	if s.denied {
		notAllowed("ses:GetAccount").write(w)
		return
	}
	io.WriteString(w, s.account)
}

func (s *SES) getIdentity(w http.ResponseWriter, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.denied:
		notAllowed("ses:GetEmailIdentity").write(w)
	case slices.Contains(s.missing, name):
		(&Answer{Status: 404, Code: "NotFoundException",
			Text: "Email identity " + name + " does not exist."}).write(w)
	default:
		io.WriteString(w, `{"VerifiedForSendingStatus":true,"VerificationStatus":"SUCCESS",`+
			`"DkimAttributes":{"SigningEnabled":true,"Status":"SUCCESS"}}`)
	}
}

func notAllowed(action string) *Answer {
	return &Answer{Status: 403, Code: "AccessDeniedException",
		Text: "User: arn:aws:sts::123456789012:assumed-role/mailwhy is not authorized to perform: " + action}
}

func (s *SES) send(w http.ResponseWriter, r *http.Request, body []byte) {
	var mail struct {
		FromEmailAddress               string
		FeedbackForwardingEmailAddress string
		Destination                    struct{ ToAddresses, CcAddresses, BccAddresses []string }
		Content                        struct{ Raw struct{ Data []byte } }
	}
	m := Mail{Path: r.URL.Path, Size: len(body), Key: keyOf(r)}
	if !s.Drop {
		if err := json.Unmarshal(body, &mail); err != nil {
			(&Answer{Status: 400, Code: "SerializationException", Text: err.Error()}).write(w)
			return
		}
		d := mail.Destination
		m.From = mail.FeedbackForwardingEmailAddress
		m.To = slices.Concat(d.ToAddresses, d.CcAddresses, d.BccAddresses)
		m.Content = mail.Content.Raw.Data
		if len(m.To) > 50 {
			(&Answer{Status: 400, Code: "BadRequestException", Text: "Recipient count exceeds 50."}).write(w)
			return
		}
	}
	if s.Script != nil {
		if a := s.Script(&m); a != nil {
			a.write(w)
			return
		}
	}
	s.mu.Lock()
	s.mails = append(s.mails, m)
	id := fmt.Sprintf("0102018c%08x-example-000000", len(s.mails))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"MessageId":%q}`, id)
}

// assume is AssumeRoleWithWebIdentity of STS.
func (s *SES) assume(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.assumed = append(s.assumed, r.PostForm)
	if a := s.stsSays; a != nil {
		w.WriteHeader(a.Status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>`+
			`<Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId>`+
			`</ErrorResponse>`, a.Code, a.Text)
		return
	}
	key := fmt.Sprintf("ASIAEXAMPLE%09d", len(s.assumed))
	s.keys[key], s.sessions[key] = "secret-of-"+key, "session-of-"+key
	fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId>
  <SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration>
  </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
		key, s.keys[key], s.sessions[key], time.Now().Add(s.life).UTC().Format(time.RFC3339))
}

// odd answers as no API does: with a page, or by ending the connection. It reports whether that was all; else
// an answer in the form of the API follows, at which Retry-After is set.
func (a *Answer) odd(w http.ResponseWriter) bool {
	if a.Hang || a.Cut {
		panic(http.ErrAbortHandler)
	}
	if a.Page != "" {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(a.Status)
		io.WriteString(w, a.Page)
		return true
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	return false
}

// write writes an error, or ends the connection.
func (a *Answer) write(w http.ResponseWriter) {
	if a.odd(w) {
		return
	}
	if a.Code != "" {
		w.Header().Set("X-Amzn-ErrorType", a.Code+":http://internal.amazon.com/coral/com.amazonaws.ses/")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	json.NewEncoder(w).Encode(map[string]string{"message": a.Text})
}

// keyOf is the access key id of a signed request.
func keyOf(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(after, "/")
	return key
}

// verify computes the signature from what was received (Signature Version 4), for the headers that the
// request names.
func (s *SES) verify(r *http.Request, sum string) *Answer {
	auth := r.Header.Get("Authorization")
	part := func(name string) string {
		_, after, _ := strings.Cut(auth, name+"=")
		value, _, _ := strings.Cut(after, ",")
		return value
	}
	scope := strings.Split(part("Credential"), "/")
	if len(scope) != 5 || !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 ") {
		return &Answer{Status: 403, Code: "MissingAuthenticationTokenException",
			Text: "Missing Authentication Token"}
	}
	s.mu.Lock()
	secret, known := s.keys[scope[0]]
	session := s.sessions[scope[0]]
	s.mu.Unlock()
	if !known || session != r.Header.Get("X-Amz-Security-Token") {
		return &Answer{Status: 403, Code: "UnrecognizedClientException",
			Text: "The security token included in the request is invalid."}
	}
	stamp := r.Header.Get("X-Amz-Date")
	if at, err := time.Parse("20060102T150405Z", stamp); err != nil || time.Since(at).Abs() > 5*time.Minute {
		return &Answer{Status: 403, Code: "InvalidSignatureException", Text: "Signature expired: " + stamp}
	}
	lines := ""
	for _, name := range strings.Split(part("SignedHeaders"), ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		lines += name + ":" + value + "\n"
	}
	path := strings.ReplaceAll(r.URL.EscapedPath(), "%", "%25")
	path = strings.ReplaceAll(path, "@", "%40")
	canonical := strings.Join([]string{r.Method, path, r.URL.RawQuery, lines, part("SignedHeaders"), sum},
		"\n")
	hashed := sha256.Sum256([]byte(canonical))
	day := strings.Join(scope[1:], "/")
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + day + "\n" + hex.EncodeToString(hashed[:])
	key := []byte("AWS4" + secret)
	for _, p := range append(scope[1:], text) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(p))
		key = h.Sum(nil)
	}
	if scope[2] != "eu-west-1" || scope[3] != "ses" || hex.EncodeToString(key) != part("Signature") {
		return &Answer{Status: 403, Code: "SignatureDoesNotMatchException",
			Text: "The request signature we calculated does not match the signature you provided."}
	}
	return nil
}
