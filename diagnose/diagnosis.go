package diagnose

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Category is one of the guide's nine names, or ConnectionFailure, which is ours.
type Category string

// The guide's categories, verbatim, and the one for failures that came without a reply.
const (
	Blocked           Category = "Blocked"
	DMARCErrors       Category = "DMARC Errors"
	InvalidAddress    Category = "Invalid Address"
	MailboxIssues     Category = "Mailbox Issues"
	MailboxFull       Category = "Mailbox Full"
	RateLimitIssues   Category = "Rate Limit Issues"
	RecipientError    Category = "Recipient Error"
	RejectionErrors   Category = "Rejection Error Codes"
	SenderReputation  Category = "Sender Reputation"
	ConnectionFailure Category = "Connection Failure"
)

// InGuide reports whether the guide itself names c.
func (c Category) InGuide() bool { return c != "" && c != ConnectionFailure }

// Reason is the finer cause under a category: snake_case, stable, defined once in guide.toml.
type Reason string

// The reasons that say whose limit was reached, or that only a session ended. The relay acts on them: it
// waits, slows down or pauses. It knows no other reason by name.
const (
	ReasonTooManyConnections Reason = "too_many_connections"
	ReasonSessionTimeout     Reason = "session_timeout"
	ReasonSessionMessages    Reason = "too_many_messages_session"
	ReasonSessionErrors      Reason = "too_many_errors"
	ReasonUnconfirmedIP      Reason = "ip_unconfirmed_rate"
	ReasonQuotaExceeded      Reason = "quota_exceeded"
	ReasonTenantThreshold    Reason = "tenant_threshold"
	ReasonGreylisted         Reason = "greylisted"
	ReasonRecipientRate      Reason = "recipient_rate_limited"
)

// ReasonSpamComplaint is that of what is no refusal: the message arrived, and no bounce tells of it.
const ReasonSpamComplaint Reason = "spam_complaint"

// ReasonSuppressed is that of an address to which the relay itself sends nothing.
const ReasonSuppressed Reason = "suppressed"

// The reasons that this package refers to; all others are in guide.toml alone.
const (
	noRefusal          Reason = "not_a_refusal"
	unknownReason      Reason = "unexplained"
	refusedUnexplained Reason = "refused_unexplained"
	recipientRejected  Reason = "recipient_rejected"
	authFailed         Reason = "auth_failed"
	authTemporary      Reason = "auth_temporary"
	authMechanism      Reason = "auth_mechanism"
	sessionRefused     Reason = "session_refused"
	sessionDeferred    Reason = "session_deferred"
	senderRejected     Reason = "sender_rejected"
	accountInactive    Reason = "account_inactive"
	accountSuspended   Reason = "account_suspended"
	senderDomainDNS    Reason = "sender_domain_dns"
	domainUnknown      Reason = "domain_unknown"
	recipientMXFault   Reason = "recipient_mx_fault"
	policyRejected     Reason = "policy_rejected"
	protocolError      Reason = "protocol_error"
	serverUnavailable  Reason = "server_unavailable"
	mailRefused        Reason = "mail_refused"
	mailboxFull        Reason = "mailbox_full"
	badHello           Reason = "bad_helo"
	networkFailure     Reason = "network_failure"
	oauthTokenFailed   Reason = "oauth_token_failed"
	tooLarge           Reason = "message_too_large"
	featureUnsupported Reason = "feature_unsupported"
	userUnknown        Reason = "user_unknown"
	remoteUnreachable  Reason = "remote_unreachable"
)

// Scope says whom a diagnosis concerns, and so what may be done about it.
type Scope string

// The scopes. Only ScopeUpstream may pause a lane.
const (
	ScopeRecipient Scope = "recipient" // this address
	ScopeMessage   Scope = "message"   // this content
	ScopeSender    Scope = "sender"    // this sender or its domain
	ScopeUpstream  Scope = "upstream"  // our account at, or our way to, the upstream
)

// Owner is who must act.
type Owner string

// The owners.
const (
	OwnerApplication      Owner = "application"
	OwnerOperator         Owner = "operator"
	OwnerSenderDomain     Owner = "sender_domain"
	OwnerRecipient        Owner = "recipient"
	OwnerRecipientAdmin   Owner = "recipient_admin"
	OwnerUpstreamProvider Owner = "upstream_provider"
)

// Owners are all owners.
func Owners() []Owner {
	return []Owner{OwnerApplication, OwnerOperator, OwnerSenderDomain, OwnerRecipient, OwnerRecipientAdmin,
		OwnerUpstreamProvider}
}

// Words name an owner in a sentence: "the operator of the relay".
func (o Owner) Words() string {
	switch o {
	case OwnerApplication:
		return "the application that sends"
	case OwnerOperator:
		return "the operator of the relay"
	case OwnerSenderDomain:
		return "the owner of the sender's domain"
	case OwnerRecipient:
		return "the recipient"
	case OwnerRecipientAdmin:
		return "the recipient's administrator"
	case OwnerUpstreamProvider:
		return "the upstream provider"
	}
	return "the " + strings.ReplaceAll(string(o), "_", " ")
}

// Action is what would help, for whoever must act. It never decides what becomes of a message: the class of
// the reply does.
type Action string

// The actions.
const (
	ActionRetry         Action = "retry"
	ActionWait          Action = "wait"
	ActionFixAndResend  Action = "fix_and_resend"
	ActionRemoveAddress Action = "remove_address"
	ActionSlowDown      Action = "slow_down"
)

// Basis is what a diagnosis rests on, strongest first.
type Basis string

// The bases.
const (
	BasisText     Basis = "text"     // the wording of the reply
	BasisPair     Basis = "pair"     // the (code, enhanced code) pair of the guide's table
	BasisEnhanced Basis = "enhanced" // the enhanced code alone
	BasisCode     Basis = "code"     // the basic code alone
	BasisStage    Basis = "stage"    // where in the exchange it happened
	BasisNetwork  Basis = "network"  // there was no reply
	BasisProvider Basis = "provider" // the provider's own type of what it told later

	// BasisFrontDoor is that of our own refusals of clients: what decided is known.
	BasisFrontDoor Basis = "front_door"
)

// Confidence says how sure a diagnosis is. On the labelled replies, at least 97 % of the answers called high
// are acceptable.
type Confidence string

// The confidences.
const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low"
)

// Diagnosis is what a refusal means and what to do about it. The delivery log, the DSN, the command line and
// the API all carry this object.
type Diagnosis struct {
	Category     Category   `json:"category"`
	InGuide      bool       `json:"in_guide"`
	Reason       Reason     `json:"reason"`
	Cause        string     `json:"cause"`              // one sentence
	Fix          []string   `json:"fix"`                // ordered steps
	Evidence     []string   `json:"evidence,omitempty"` // facts of this message that bear on the cause
	Scope        Scope      `json:"scope"`
	Owner        Owner      `json:"owner"`
	Action       Action     `json:"action"`
	Basis        Basis      `json:"basis"`
	Confidence   Confidence `json:"confidence"`
	Rule         string     `json:"rule"` // id of the rule or table row that decided
	Alternatives []Category `json:"alternatives,omitempty"`
	Provider     string     `json:"provider,omitempty"` // who replied, as far as the text tells
	RetryAfter   Seconds    `json:"retry_after,omitempty"`
	Blocklist    *Blocklist `json:"blocklist,omitempty"`
	SizeLimit    int64      `json:"size_limit,omitempty"` // bytes, as the text names it
	Domain       string     `json:"domain,omitempty"`     // the domain that the text blames
	IP           string     `json:"ip,omitempty"`         // the address that the text blames
	Links        []string   `json:"links,omitempty"`
}

// Blocklist is a list that the reply names.
type Blocklist struct {
	Name    string `json:"name"`
	Lookup  string `json:"lookup,omitempty"`  // page that tells whether and why an address is listed
	Removal string `json:"removal,omitempty"` // page that asks for removal
}

// Seconds is a duration written in JSON as a whole number of seconds.
type Seconds time.Duration

// MarshalJSON writes whole seconds, rounded up so that nobody is asked to come back too early.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(int64((time.Duration(s) + time.Second - 1) / time.Second))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*s = Seconds(time.Duration(n) * time.Second)
	return nil
}

// CodeMeaning is what the tables say of codes alone, before any wording is read. A reason is "" where a table
// does not have the code.
type CodeMeaning struct {
	Code           int    `json:"code,omitempty"`
	Enhanced       string `json:"enhanced,omitempty"`
	Pairs          []Pair `json:"pairs,omitempty"`           // rows of the guide's table
	EnhancedReason Reason `json:"enhanced_reason,omitempty"` // what the enhanced code means (RFC 3463)
	CodeReason     Reason `json:"code_reason,omitempty"`     // what the basic code means (RFC 5321, 4.2.3)
}

// Known reports whether any table has the codes.
func (m CodeMeaning) Known() bool {
	return len(m.Pairs) > 0 || m.EnhancedReason != "" || m.CodeReason != ""
}

// Pair writes the codes as a reply has them.
func (m CodeMeaning) Pair() string { return pairText(m.Code, m.Enhanced) }

// String writes the pair as a reply has it.
func (p Pair) String() string { return pairText(p.Code, p.Text) }

// pairText writes a basic and an enhanced code, either of which may be missing.
func pairText(code int, enhanced string) string {
	switch {
	case code == 0:
		return enhanced
	case enhanced == "":
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + " " + enhanced
}

// Codes looks up a basic code, an enhanced code, or both; 0 and the zero Enhanced stand for none.
func (e *Engine) Codes(code int, enhanced Enhanced) CodeMeaning {
	m := CodeMeaning{Code: code, Enhanced: enhanced.String()}
	for _, p := range e.pairList {
		if code != 0 && p.Code != code || !enhanced.IsZero() && p.Enhanced != enhanced {
			continue
		}
		m.Pairs = append(m.Pairs, p)
	}
	if row := e.enhancedRow(enhanced); row != nil {
		m.EnhancedReason = row.Reason
	}
	if row := e.codes[code]; row != nil {
		m.CodeReason = row.Reason
	}
	return m
}
