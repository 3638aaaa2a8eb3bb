// Package smtptest is a scripted SMTP upstream, and what goes with it: a proxy that damages the
// way to it, a scripted client, a load generator, and certificates.
//
// It is used by the tests of every room, by `mailwhy practice`, and by the scripts. Its rooms are ledger,
// which compares what was acknowledged with what arrived, and process, which starts a built relay and
// measures it.
//
// The server is our own, not a library's, because it must be able to misbehave: to answer any command with
// any bytes, late, in pieces or never, and to close, reset or stall a connection at any point. So must the
// client.
//
// Left alone it is a strict server of RFC 5321 with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC
// 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207) and AUTH
// (RFC 4954): it refuses what a correct client never says (a parameter that was not offered, an envelope out
// of order), so that a client's mistake fails its test.
//
// What always holds: only CRLF.CRLF ends a content (RFC 5321, 4.1.1.4); a message is recorded before its 250
// is written; Close returns when nothing that the server or the proxy started is running any more.
package smtptest

import (
	"crypto/tls"
	"net"
	"time"

	"mailwhy/diagnose"
	"mailwhy/relay/smtptest/ledger"
)

// Options say how a Server behaves. The zero Options are a server in clear, without AUTH, that accepts
// everything and keeps all of it.
type Options struct {
	Addr     string       // to listen on; 127.0.0.1:0 when empty
	Listener net.Listener // to take connections from, in place of Addr; Port needs one of TCP
	Hostname string       // in the greeting; upstream.test when empty

	TLS         *tls.Config // offers STARTTLS; nil offers none
	ImplicitTLS bool        // TLS from the first byte (RFC 8314, 3.3), with the configuration in TLS
	RequireTLS  bool        // 530 to MAIL and AUTH in clear

	Users       map[string]string // user -> password, or token for XOAUTH2; with any, AUTH is offered
	Login       Login             // judges credentials in place of Users
	Mechanisms  []string          // offered and taken; PLAIN, LOGIN and CRAM-MD5 when nil
	RequireAuth bool              // 530 to MAIL before AUTH
	// Tokens reports whether a user's access token is good, for XOAUTH2; nil takes it from Users.
	Tokens func(user, token string) bool

	SizeLimit int64    // offered by SIZE and enforced; 0 is no limit
	Without   []string // EHLO keywords that are not offered, such as PIPELINING
	Extra     []string // further EHLO lines, such as "LIMITS RCPTMAX=2"

	Script  func(Command) Action // asked at each stage, concurrently; nil leaves everything to the server
	Deliver func(*Message) error // called with each content before its 250; an error makes a 451

	Forget bool           // keep neither sessions nor messages
	Ledger *ledger.Ledger // reads each content as it streams by and enters it before its 250

	Idle      time.Duration     // a client silent for longer is disconnected; 5 minutes when zero
	IdleReply string            // said to it first; empty says nothing
	Ended     func(session int) // called when a session has ended, concurrently
}

// Login judges credentials and returns the reply that ends AUTH: with 235 the user is authenticated.
// matches reports whether a password, or a token, is the one that the client proved to know. The user is
// empty where the exchange failed before there was one.
type Login func(mechanism, user string, matches func(secret string) bool) (reply string)

// Command is what a client said, as the Script sees it.
type Command struct {
	Session int            // number of the session, from 1
	Message int            // number of the transaction in its session, from 1; 0 before the first MAIL
	Stage   diagnose.Stage // StageGreeting when a client connected; StageUnknown for NOOP and the like
	Line    string         // as it came, without the line end
	Address string         // of MAIL and RCPT, without the angle brackets
	Params  string         // of MAIL and RCPT, raw
	Arrived *Message       // the transaction so far: the content too, at StageEndOfData. Read only
	User    string         // as authenticated
	TLS     bool
}

// Action is what the Script wants done. The zero Action leaves it to the server. What is set happens in the
// order of the fields.
type Action struct {
	Delay time.Duration // before anything else
	Reply string        // lines joined by "\n", without the last line end; "" with an End says nothing at all
	Bytes []byte        // in place of Reply, byte for byte
	Drip  time.Duration // pause before each byte of the reply
	End   End
	Take  bool // at StageEndOfData: the message is taken although no 2xx says so, as when the reply is lost
}

// IsZero reports whether a leaves everything to the server.
func (a *Action) IsZero() bool {
	return a.Delay == 0 && a.Reply == "" && a.Bytes == nil && a.Drip == 0 && a.End == EndNot && !a.Take
}

// End is how a connection ends.
type End string

// The ends of a connection.
const (
	EndNot   End = ""
	EndClose End = "close" // FIN
	EndReset End = "reset" // RST
	EndStall End = "stall" // open, but nothing is read or written any more, until the Server is closed
)

// Session is one connection.
type Session struct {
	ID       int
	Remote   string
	Hello    string   // the argument of the last EHLO or HELO
	TLS      string   // "TLS 1.3"; empty in clear
	User     string   // as authenticated
	Commands []string // the lines as they came, credentials included; empty when the Server forgets
	Messages int      // accepted
}

// Message is one transaction.
type Message struct {
	Session    int
	Hello      string
	TLS        string
	User       string
	From       string // reverse-path without the angle brackets
	FromParams string // raw
	To         []Recipient
	Content    []byte // as sent, dot-stuffing undone; nil when a Ledger takes it
	Size       int64
	BareCR     bool // the content has a CR without LF
	BareLF     bool // the content has an LF without CR
	Started    time.Time
	Arrived    time.Time // end of data

	arrival *ledger.Arrival // nil without a Ledger
}

// recipients are the addresses alone.
func (m *Message) recipients() []string {
	all := make([]string, len(m.To))
	for i := range m.To {
		all[i] = m.To[i].Address
	}
	return all
}

// Recipient is one accepted RCPT TO.
type Recipient struct {
	Address string
	Params  string // raw
}

// Stats count what a Server has seen.
type Stats struct {
	Sessions   int64 // begun
	Open       int64 // now
	Messages   int64 // accepted
	Recipients int64 // of accepted messages
	Bytes      int64 // of accepted contents
	Refused    int64 // replies of 4xx and 5xx to MAIL, RCPT, DATA and the content
}

// TB is the part of testing.TB that New and its like use, so that commands can link this package without
// testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}
