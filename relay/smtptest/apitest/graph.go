package apitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strings"
	"sync"
)

// Graph imitates sendMail of Microsoft Graph: it sends to whom the header names.
type Graph struct {
	Server *httptest.Server
	CAFile string
	// Valid says whether an access token is good.
	Valid func(token string) bool
	// Script decides about a mail before it is taken; nil, or a nil Answer: it is taken.
	Script func(m *Mail) *Answer

	mu    sync.Mutex
	mails []Mail
}

// graphLimit is the largest request.
const graphLimit = 4_000_000

// StartGraph starts a server, which stops with the test.
func StartGraph(tb TB, valid func(token string) bool) *Graph {
	g := &Graph{Valid: valid}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(g.serve))
	g.Server.StartTLS()
	tb.Cleanup(g.Server.Close)
	g.CAFile = caFile(tb, g.Server)
	return g
}

// Mails are the mails that were taken. To is what the header named.
func (g *Graph) Mails() []Mail {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.mails)
}

func (g *Graph) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case err != nil:
	case !g.Valid(token):
		(&Answer{Status: 401, Code: "InvalidAuthenticationToken",
			Text: "Access token has expired or is not yet valid."}).graph(w)
	case r.Method == http.MethodGet: // an application that may send and no more
		(&Answer{Status: 403, Code: "ErrorAccessDenied",
			Text: "Access is denied. Check credentials and try again."}).graph(w)
	case len(body) > graphLimit:
		(&Answer{Status: 413, Code: "RequestEntityTooLarge"}).graph(w)
	case r.Header.Get("Content-Type") != "text/plain":
		(&Answer{Status: 400, Code: "ErrorInvalidRequest", Text: "not MIME"}).graph(w)
	default:
		g.send(w, &Mail{Path: r.URL.Path, Key: token, Size: len(body)}, body)
	}
}

func (g *Graph) send(w http.ResponseWriter, m *Mail, body []byte) {
	content, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		(&Answer{Status: 400, Code: "ErrorMimeContentInvalidBase64String",
			Text: "Invalid base64 string for MIME content."}).graph(w)
		return
	}
	m.Content = content
	if a := m.readRecipients(); a != nil {
		a.graph(w)
		return
	}
	if g.Script != nil {
		if a := g.Script(m); a != nil {
			a.graph(w)
			return
		}
	}
	g.mu.Lock()
	g.mails = append(g.mails, *m)
	n := len(g.mails)
	g.mu.Unlock()
	w.Header().Set("request-id", fmt.Sprintf("7c1d9d2e-0000-4000-8000-%012d", n))
	w.WriteHeader(http.StatusAccepted)
}

// readRecipients reads the recipients from the header, as Graph does.
func (m *Mail) readRecipients() *Answer {
	parsed, err := mail.ReadMessage(strings.NewReader(string(m.Content)))
	if err != nil {
		return &Answer{Status: 400, Code: "ErrorMimeContentInvalid", Text: err.Error()}
	}
	invalid := &Answer{Status: 400, Code: "ErrorInvalidRecipients",
		Text: "At least one recipient is not valid."}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil }, // any will do
	}}
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, value := range parsed.Header[name] {
			list, err := parser.ParseList(strings.ToValidUTF8(value, "?"))
			if err != nil || len(list) == 0 {
				return invalid
			}
			for _, a := range list {
				m.To = append(m.To, a.Address)
			}
		}
	}
	if len(m.To) == 0 {
		return invalid
	}
	return nil
}

// graph writes an error in the form of Graph, or ends the connection.
func (a *Answer) graph(w http.ResponseWriter) {
	if a.odd(w) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": a.Code, "message": a.Text,
		"innerError": map[string]string{"request-id": "7c1d9d2e-0000-4000-8000-000000000000"}}})
}
