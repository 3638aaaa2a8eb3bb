package diagnose

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// Stage is the point of an SMTP exchange at which a reply was given or a failure met.
type Stage string

// The stages of an exchange, in the order in which they happen (RFC 5321, 4.1.4).
const (
	StageUnknown   Stage = ""            // not known, as for a reply pasted by a person
	StageConnect   Stage = "connect"     // name look-up and TCP connection
	StageGreeting  Stage = "greeting"    // the server's first reply
	StageHello     Stage = "ehlo"        // EHLO or HELO
	StageTLS       Stage = "starttls"    // STARTTLS and the handshake, the implicit one too
	StageAuth      Stage = "auth"        // AUTH
	StageMail      Stage = "mail"        // MAIL FROM
	StageRcpt      Stage = "rcpt"        // RCPT TO
	StageData      Stage = "data"        // the DATA command, answered by 354
	StageEndOfData Stage = "end_of_data" // the content and its final dot
	StageReset     Stage = "rset"        // RSET
	StageQuit      Stage = "quit"        // QUIT
	StageRemote    Stage = "remote"      // the upstream's exchange with the recipient's server, told later
	StageQueue     Stage = "queue"       // ours: decided without the upstream (expired, too large, cancelled)
)

// Stages are the stages that have a name, in the order in which they come.
func Stages() []Stage {
	return []Stage{
		StageConnect, StageGreeting, StageHello, StageTLS, StageAuth, StageMail, StageRcpt, StageData,
		StageEndOfData, StageReset, StageQuit, StageRemote, StageQueue,
	}
}

// Symptom is everything known about one refusal: what was said, where in the exchange, by whom, and about
// which message. The zero value of a field means that it is not known.
type Symptom struct {
	Stage    Stage
	Reply    Reply  // the zero Reply when the upstream said nothing
	NetErr   NetErr // why there is no reply
	Text     string // wording that carries no code, as in a foreign mailer's report
	Upstream string // host name of the next hop that spoke
	Final    bool   // the message will not be tried again, whatever the reply's class: it has expired
	Facts    Facts
}

// Reply is what a server said (RFC 5321, 4.2). The zero Reply means that nothing was said.
type Reply struct {
	Raw      string   // the bytes as received, line ends included
	Code     int      // the basic code, 200 to 799; 0 when there is none
	Enhanced Enhanced // RFC 3463; zero when there is none. A mismatch with Code is kept as it came
	Text     string   // the wording without the codes at the line starts, lines joined by a space
}

// IsZero reports whether nothing was said.
func (r Reply) IsZero() bool { return r.Raw == "" && r.Code == 0 }

// Class is the first digit of the basic code: 2, 4, 5 ... or 0.
func (r Reply) Class() int { return r.Code / 100 }

// replyJSON is how a Reply is stored: by its bytes alone, since the rest follows from them.
type replyJSON struct {
	Raw   string `json:"raw,omitempty"`
	Bytes []byte `json:"bytes,omitempty"` // in place of Raw where that is not valid UTF-8
}

// MarshalJSON writes r so that UnmarshalJSON restores every byte.
func (r Reply) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(r.Raw) {
		return json.Marshal(replyJSON{Raw: r.Raw})
	}
	return json.Marshal(replyJSON{Bytes: []byte(r.Raw)})
}

// UnmarshalJSON restores a Reply written by MarshalJSON.
func (r *Reply) UnmarshalJSON(b []byte) error {
	var j replyJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Bytes != nil {
		j.Raw = string(j.Bytes)
	}
	*r = Reply{}
	if j.Raw != "" {
		*r = ParseReply(j.Raw)
	}
	return nil
}

// Enhanced is an enhanced mail system status code (RFC 3463, 2). Details of three digits occur (5.7.705).
type Enhanced struct{ Class, Subject, Detail int }

// IsZero reports whether e is absent.
func (e Enhanced) IsZero() bool { return e == Enhanced{} }

// String writes e as "5.1.1", or "" when it is absent.
func (e Enhanced) String() string {
	if e.IsZero() {
		return ""
	}
	return strconv.Itoa(e.Class) + "." + strconv.Itoa(e.Subject) + "." + strconv.Itoa(e.Detail)
}

// NetErr says why an exchange with the upstream ended without a reply. The caller makes it from a Go error;
// diagnose itself does no I/O. Beside a reply only Text is set, to what the server said before it: the
// explanation of a refused login.
type NetErr struct {
	Kind   NetKind
	Text   string // the error in words, for the log: addresses and names, never secrets
	Reason Reason `json:",omitempty"` // what it means, where the caller knows; "": the words are read
}

// NetKind is the kind of a failure that came without a reply.
type NetKind string

// The kinds of network, DNS, TLS and token failures.
const (
	NetNone             NetKind = ""
	NetDNSNotFound      NetKind = "dns_not_found"           // the name does not exist
	NetDNSFailure       NetKind = "dns_failure"             // the name server failed or timed out
	NetNullMX           NetKind = "null_mx"                 // RFC 7505: the domain accepts no mail
	NetRefused          NetKind = "connection_refused"      // TCP RST to our SYN
	NetUnreachable      NetKind = "network_unreachable"     // no route to the host or network
	NetConnectTimeout   NetKind = "connect_timeout"         // no answer to our SYN
	NetTimeout          NetKind = "timeout"                 // connected, then silent
	NetNoGreeting       NetKind = "no_greeting"             // connected, and the server never greeted
	NetReset            NetKind = "connection_reset"        // connected, then RST
	NetClosed           NetKind = "connection_closed"       // connected, then EOF without a reply
	NetProtocol         NetKind = "protocol_error"          // bytes that are not an SMTP reply
	NetTLSAuthority     NetKind = "tls_unknown_authority"   // certificate not signed by a known authority
	NetTLSExpired       NetKind = "tls_certificate_expired" // certificate expired or not yet valid
	NetTLSName          NetKind = "tls_wrong_name"          // certificate for another name
	NetTLSPin           NetKind = "tls_fingerprint"         // certificate's fingerprint is not the pinned one
	NetTLSProtocol      NetKind = "tls_handshake"           // versions, ciphers, alerts, not TLS at all
	NetTLSUnavailable   NetKind = "tls_unavailable"         // TLS required, STARTTLS not offered
	NetAuthUnavailable  NetKind = "auth_unavailable"        // credentials set, no usable mechanism offered
	NetProxy            NetKind = "proxy"                   // the proxy failed, not the upstream
	NetOAuthToken       NetKind = "oauth_token"             // the token end point refused or failed
	NetAPI              NetKind = "api_refused"             // an HTTP API answered with an error: its words
	NetLocal            NetKind = "local"                   // our own machine: no file descriptors, no port
	NetCanceled         NetKind = "canceled"                // we stopped the exchange ourselves
	NetSizeExceeded     NetKind = "size_exceeded"           // RFC 1870: larger than the upstream's SIZE
	NetUTF8Unavailable  NetKind = "smtputf8_unavailable"    // RFC 6531: the message needs SMTPUTF8
	NetEightUnavailable NetKind = "8bitmime_unavailable"    // RFC 6152: the message needs 8BITMIME
	NetExtensionMissing NetKind = "extension_missing"       // RFC 5321, 2.2.1: offered before, or EHLO failed
	NetSandbox          NetKind = "sandbox"                 // ours: the sandbox keeps the mail back
	NetCorrupt          NetKind = "content_corrupt"         // ours: the stored content is damaged or gone
	NetExpired          NetKind = "expired"                 // RFC 5321, 4.5.4.1: the retry limit was reached
	NetSuppressed       NetKind = "suppressed"              // ours: the address is on our suppression list
)

// Facts are what the caller knows about the message itself. The evidence names them where they explain the
// refusal. All are optional.
type Facts struct {
	HeaderFrom    string    // domain of the From header
	EnvelopeFrom  string    // domain of MAIL FROM; empty for the null sender
	DKIMDomains   []string  // d= of each DKIM-Signature present
	Examined      bool      // the header was read, so an empty DKIMDomains means that there is none
	Size          int64     // of the message, bytes
	UpstreamSize  int64     // the upstream's SIZE limit, bytes
	Recipient     string    // the address that was refused
	RecentRate    float64   // messages handed to this upstream in the last minute, a second
	FirstAttempt  time.Time // when the message was first tried
	ReplyToReused bool      // the reply came on a reused connection
	Now           time.Time // when the reply was given: with it a time that the reply names is RetryAfter

	// At StageRemote, what the provider that told of it says beside the reply, in its own words. They break
	// ties, and decide where no reply is quoted.
	Provider      string // "ses"
	ProviderType  string // its name for what happened: "HardBounce", "Permanent"
	ProviderClass string // its finer name or number for why: "General", "10"
	Complaint     bool   // somebody calls the message spam; there is no refusal
}
