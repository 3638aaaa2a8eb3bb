// Package config turns relay.toml, the environment and flags into one validated Config.
//
// It is the only home of every default: the rooms of the relay have none and refuse to start without a
// value. The program that joins the rooms loads a Config and hands each room plain values; no room imports
// this package.
//
// A key's value comes from the first of: a flag, a MAILWHY_ variable, the file, a variable of boky/postfix
// (package dropin), the preset of the upstream's provider, Default. Load reports
// everything that is wrong at once, each Mistake with its key path, where the value came from and what to
// write instead. The Config that it returns is complete: every default is filled in, secrets are read from
// their files, and every value is in range. A Config never changes; a reload loads a new one. Secrets
// cannot be printed by accident (Secret).
//
// Viper reads and merges the sources. The traps of its version 1.21 are avoided like this:
//
//   - Values are only unmarshalled into the structs below, never fetched with Get*.
//   - Every key gets its default from one walk over Default, so the environment reaches keys that are in no
//     file.
//   - Unknown keys are mistakes, and so are unknown MAILWHY_ variables, which viper cannot see.
//   - A duration without a unit is a mistake, not a number of nanoseconds. Numbers are decimal.
//   - Keys with capital letters are mistakes: viper would merge keys that differ only in case.
//   - The key delimiter is not a dot. Files are never watched.
//
// The struct tags are the rules: toml names the key; min and max bound a number, size or duration; oneof
// lists the allowed words; read marks a file that must be readable. docs/configuration.md and
// relay.example.toml are tested against them.
package config

import (
	"net/netip"
	"time"

	"mailwhy/config/cluster"
	"mailwhy/config/dropin"
	"mailwhy/config/page"
	"mailwhy/config/value"
	"mailwhy/relay/preset"
)

// Config is a whole configuration.
type Config struct {
	Hostname string `toml:"hostname"` // in EHLO, Received and DSNs
	// ShutdownDelay is how long after SIGTERM mail is taken as before, while readiness says no.
	ShutdownDelay time.Duration `toml:"shutdown_delay" max:"10m"`
	// ShutdownDrain is how long mail is sent after that, while there is any.
	ShutdownDrain time.Duration `toml:"shutdown_drain" max:"7d"`
	// ShutdownGrace is for work in progress at the end.
	ShutdownGrace time.Duration `toml:"shutdown_grace" min:"100ms" max:"10m"`

	Listen      []Listen             `toml:"listen"`
	Client      []Client             `toml:"client"`
	Accept      Accept               `toml:"accept"`
	Access      Access               `toml:"access"`
	Content     Content              `toml:"content"`
	DKIM        []DKIM               `toml:"dkim"`
	SMTPD       SMTPD                `toml:"smtpd"`
	TLS         TLS                  `toml:"tls"`
	Spool       Spool                `toml:"spool"`
	Cluster     cluster.Cluster      `toml:"cluster"`
	Retry       Retry                `toml:"retry"`
	Upstream    map[string]*Upstream `toml:"upstream"`
	Route       []Route              `toml:"route"`
	Policy      []Policy             `toml:"policy"`
	Rewrite     []Rewrite            `toml:"rewrite"`
	Archive     []Archive            `toml:"archive"`
	Sandbox     Sandbox              `toml:"sandbox"`
	DeliveryLog DeliveryLog          `toml:"delivery_log"`
	Log         Log                  `toml:"log"`
	DSN         DSN                  `toml:"dsn"`
	Diagnose    Diagnose             `toml:"diagnose"`
	Admin       Admin                `toml:"admin"`
	Metrics     Metrics              `toml:"metrics"`
	Page        page.Page            `toml:"page"`
	Feedback    Feedback             `toml:"feedback"`
	Suppression Suppression          `toml:"suppression"`

	Webhook      []EventWebhook `toml:"webhook"`
	WebhookStore WebhookStore   `toml:"webhook_store"`

	Warnings []string `toml:"-"` // what is allowed but unwise, a sentence each; for the operational log
	// DropIn says what became of the variables of boky/postfix; empty where they are not looked at.
	DropIn []dropin.Note `toml:"-"`

	origins map[string]string        // of the keys that are not defaults
	presets map[string]preset.Source // of those among them that a preset sets
}

// Listen is one address that accepts mail.
type Listen struct {
	Address string `toml:"address"` // host:port, or unix:PATH
	// TLS is starttls by default when [tls] names a certificate, else none.
	TLS string `toml:"tls" oneof:"none starttls implicit"`
	// TLSMinVersion is tls.min_version by default.
	TLSMinVersion string         `toml:"tls_min_version" oneof:"1.0 1.1 1.2 1.3"`
	ProxyProtocol []netip.Prefix `toml:"proxy_protocol"` // peers whose PROXY header is trusted
	Mode          value.FileMode `toml:"mode"`           // of a unix socket
	// Role is what the listener is for. One for bounces takes mail to our own return paths only, from
	// anybody, and relays nothing.
	Role string `toml:"role" oneof:"mail bounces"`
	// Protocol lmtp gives a reply to the content for each recipient (RFC 2033).
	Protocol string `toml:"protocol" oneof:"smtp lmtp"`
	// AcceptMode is accept.mode by default.
	AcceptMode string `toml:"accept_mode" oneof:"queue try"`
}

// Accept is what happens to mail before its client is answered.
type Accept struct {
	// Mode queue stores mail; try offers it to its upstream first, and tells the client the verdict.
	Mode string `toml:"mode" oneof:"queue try"`
	// TryFor is how long a client waits at most for the verdict, from the end of its content.
	TryFor time.Duration `toml:"try_for" min:"100ms" max:"5m"`
}

// Client is a named group of networks that may send mail without authentication.
type Client struct {
	Name     string         `toml:"name"` // for logs and metrics
	Networks []netip.Prefix `toml:"networks"`
	Senders  []string       `toml:"senders"` // envelope senders it may use, address or @domain; empty: any
	// Lenient accepts what old devices send.
	Lenient bool `toml:"lenient"`
	// Auth is how it can authenticate: as a user with TLS, as a user also in clear, or with any password. It
	// is clear by default if Lenient, else tls.
	Auth string `toml:"auth" oneof:"tls clear any"`
	// AcceptMode is that of the listener by default.
	AcceptMode string `toml:"accept_mode" oneof:"listener queue try"`
}

// Access says who may use which addresses. Entries of the lists are an address, "@domain", or "@.domain"
// for a domain's subdomains.
type Access struct {
	UsersFile string `toml:"users_file" read:"secret"`
	// Users are the entries of a users file, with blanks between them, in place of the file.
	Users           value.Secret `toml:"users"`
	AllowSenders    []string     `toml:"allow_senders"` // empty: all
	DenySenders     []string     `toml:"deny_senders"`
	AllowRecipients []string     `toml:"allow_recipients"` // empty: all
	DenyRecipients  []string     `toml:"deny_recipients"`
	RequireAuth     bool         `toml:"require_auth"` // for named clients too
}

// Content is how contents are mended.
type Content struct {
	DropHeaders []string `toml:"drop_headers"` // names of header fields that are removed
	// DefaultDomain completes addresses without a domain; it is the hostname by default, if that has a dot.
	DefaultDomain string `toml:"default_domain"`
	// WrapLongLines encodes the parts of a content that have lines longer than SMTP allows.
	WrapLongLines bool `toml:"wrap_long_lines"`
	// AddHeaders are added to all mail; see Rewrite.
	AddHeaders []string `toml:"add_headers"`
}

// SMTPD holds the limits of the front door.
type SMTPD struct {
	MaxConnections           int `toml:"max_connections" min:"1" max:"100000"`
	MaxConnectionsPerClient  int `toml:"max_connections_per_client" min:"1" max:"100000"`
	MaxMessagesPerConnection int `toml:"max_messages_per_connection" min:"0"` // 0: no limit
	MaxErrors                int `toml:"max_errors" min:"1"`
	MaxAuthFailures          int `toml:"max_auth_failures" min:"1"`
	// The minimums are those of RFC 5321: 4.5.3.1.8 (recipients), 4.5.3.1.7 (content), 4.5.3.1.6 (lines).
	MaxRecipients     int           `toml:"max_recipients" min:"100" max:"50000"`
	MaxMessageSize    value.Size    `toml:"max_message_size" min:"64kB" max:"2GB"`
	MaxCommandLength  value.Size    `toml:"max_command_length" min:"1036" max:"1MB"` // RFC 3461, 5.4
	MaxLineLength     value.Size    `toml:"max_line_length" min:"1000" max:"1GB"`
	MaxMemory         value.Size    `toml:"max_memory" min:"4MiB"`
	IdleTimeout       time.Duration `toml:"idle_timeout" min:"1s" max:"24h"`
	DataTimeout       time.Duration `toml:"data_timeout" min:"1s" max:"24h"`
	MinDataRate       value.Size    `toml:"min_data_rate"` // bytes a second; 0: no minimum
	MaxHops           int           `toml:"max_hops" min:"1" max:"1000"`
	BareNewline       string        `toml:"bare_newline" oneof:"reject normalize"`
	AddMissingHeaders bool          `toml:"add_missing_headers"`
}

// TLS is the certificate of the listeners.
type TLS struct {
	CertFile   string `toml:"cert_file" read:"file"`
	KeyFile    string `toml:"key_file" read:"secret"`
	MinVersion string `toml:"min_version" oneof:"1.2 1.3"`
}

// Spool is where messages are stored until they are relayed.
type Spool struct {
	Dir         string     `toml:"dir"`
	MaxBytes    value.Size `toml:"max_bytes"`               // of all contents; 0: no limit
	MaxMessages int64      `toml:"max_messages" min:"0"`    // 0: no limit
	FreeFloor   value.Size `toml:"free_floor" min:"1MiB"`   // free disk space below which no mail is accepted
	InlineLimit value.Size `toml:"inline_limit" max:"1MiB"` // larger contents are kept in files of their own

	Engine  string       `toml:"engine" oneof:"sqlite postgres"`
	URL     value.Secret `toml:"url"` // of a PostgreSQL database
	URLFile string       `toml:"url_file"`
	// Durability is whether a standby must have what is accepted.
	Durability    string        `toml:"durability" oneof:"sync single"`
	CommitTimeout time.Duration `toml:"commit_timeout" min:"1s" max:"2m"`
	Connections   int           `toml:"connections" min:"4" max:"100"` // to the database
}

// The engines of a spool.
const (
	EngineSQLite   = "sqlite"
	EnginePostgres = "postgres"
)

// Shared reports whether the spool is one that several relays have.
func (s *Spool) Shared() bool { return s.Engine == EnginePostgres }

// Retry is when and for how long delivery is tried again.
type Retry struct {
	Schedule      value.Schedule `toml:"schedule"`
	ExpireAfter   time.Duration  `toml:"expire_after" min:"1s" max:"30d"`
	Jitter        float64        `toml:"jitter" min:"0" max:"0.5"` // the random part of each delay
	MaxRetryAfter time.Duration  `toml:"max_retry_after" min:"1s" max:"24h"`
	// FailoverAfter is how long an upstream is paused before its mail goes to the route's next one.
	FailoverAfter time.Duration `toml:"failover_after" min:"1s" max:"24h"`
}

// DeliveryLog records what happened to each message.
type DeliveryLog struct {
	File   string `toml:"file"` // "-" is standard output
	Format string `toml:"format" oneof:"json text ecs otel"`
}

// Log is the operational log, on standard error.
type Log struct {
	Level  string `toml:"level" oneof:"debug info warn error"`
	Format string `toml:"format" oneof:"text json"`
	// Addresses is what is left of people's addresses in what is written about mail.
	Addresses string `toml:"addresses" oneof:"full domain hash"`
}

// DSN is what delivery status notifications contain and where they go.
type DSN struct {
	Route string `toml:"route" oneof:"sender operator both maildir off"`
	From  string `toml:"from"` // From header; postmaster at hostname when empty
	// FallbackSender is the envelope sender for upstreams that refuse the null sender.
	FallbackSender string        `toml:"fallback_sender"`
	Operator       string        `toml:"operator"`
	Maildir        string        `toml:"maildir"`
	DelayAfter     time.Duration `toml:"delay_after"` // 0: no delay notices
	Collect        time.Duration `toml:"collect" max:"1h"`
	HoldFor        time.Duration `toml:"hold_for" max:"365d"` // a bounce that no server accepts; 0: forever
	ReturnLimit    value.Size    `toml:"return_limit"`        // larger messages are returned as headers only
	TemplateFile   string        `toml:"template_file" read:"file"`
	StormThreshold int           `toml:"storm_threshold" min:"0"` // 0: a DSN for every message
	StormWindow    time.Duration `toml:"storm_window" min:"1s" max:"24h"`
}

// Diagnose extends the guide.
type Diagnose struct {
	RulesFile string `toml:"rules_file" read:"file"`
}

// Admin is the control socket, and the HTTP API and page over TCP.
type Admin struct {
	Socket     string   `toml:"socket"`      // admin.sock in the spool directory when empty
	TokensFile string   `toml:"tokens_file"` // tokens.json in the spool directory when empty
	Listen     string   `toml:"listen"`      // host:port; empty: nowhere
	TLS        string   `toml:"tls" oneof:"none implicit"`
	Hosts      []string `toml:"hosts"`   // the names under which listen is reached, beside localhost
	Origins    []string `toml:"origins"` // of pages that may use the API, behind a proxy that changes Host
}

// Metrics is where Prometheus can fetch the metrics, in addition to the control socket.
type Metrics struct {
	Listen string `toml:"listen"` // host:port; empty: nowhere
}

// Default is the configuration when nothing is set. Load fills in what depends on the machine or on other
// settings: hostname, spool.dir, admin.socket, admin.tokens_file, dsn.from, the listener and the client.
func Default() *Config {
	return &Config{
		ShutdownGrace: 8 * time.Second,
		Accept:        Accept{Mode: "queue", TryFor: 10 * time.Second},
		SMTPD: SMTPD{
			MaxConnections:          1000,
			MaxConnectionsPerClient: 500,
			MaxErrors:               20,
			MaxAuthFailures:         5,
			MaxRecipients:           1000,
			MaxMessageSize:          50 * value.MB,
			MaxCommandLength:        12 * value.KiB, // RFC 4954, 4: an AUTH line may be 12288 bytes
			MaxLineLength:           1 * value.MiB,
			MaxMemory:               64 * value.MiB,
			IdleTimeout:             5 * time.Minute, // RFC 5321, 4.5.3.2.7
			DataTimeout:             30 * time.Minute,
			MinDataRate:             100,
			MaxHops:                 100, // RFC 5321, 6.3
			BareNewline:             "reject",
			AddMissingHeaders:       true,
		},
		Content: Content{DropHeaders: []string{"Bcc", "Resent-Bcc", "Return-Path", "Content-Length"}},
		TLS:     TLS{MinVersion: "1.2"},
		Admin:   Admin{TLS: "none"},
		Spool: Spool{FreeFloor: 64 * value.MiB, InlineLimit: 128 * value.KiB, Engine: EngineSQLite,
			Durability: "sync", CommitTimeout: 10 * time.Second, Connections: 4},
		Cluster:     cluster.Default(),
		Retry:       defaultRetry(),
		DeliveryLog: DeliveryLog{File: "-", Format: "json"},
		Log:         Log{Level: "info", Format: "text", Addresses: "full"},
		DSN: DSN{
			Route:       "sender",
			DelayAfter:  4 * time.Hour,
			Collect:     5 * time.Second,
			HoldFor:     14 * 24 * time.Hour,
			ReturnLimit: 64 * value.KiB,
			StormWindow: time.Minute,
		},
		Feedback:     defaultFeedback(),
		Suppression:  defaultSuppression(),
		WebhookStore: defaultWebhookStore(),
		Page:         page.Default(),
		Sandbox:      Sandbox{Subject: "[SANDBOX]"},
	}
}

// defaultRetry gives up after five days (RFC 5321, 4.5.4.1). The first delays are short, because most
// deferrals last only minutes.
func defaultRetry() Retry {
	h := time.Hour
	return Retry{
		Schedule: value.Schedule{time.Minute, 5 * time.Minute, 5 * time.Minute, 30 * time.Minute, h, h, h, h,
			h, h, 4 * h},
		ExpireAfter:   5 * 24 * h,
		Jitter:        0.1,
		MaxRetryAfter: 4 * h,
		FailoverAfter: 2 * time.Minute,
	}
}

// The limits of the front door that are not settings: no installation has needed other values.
const (
	SMTPDOtherCommands   = 1000            // between messages, other than MAIL, RCPT and DATA
	SMTPDHeaderPeek      = 128 * value.KiB // of the header that is read into memory and looked at
	SMTPDOwnReceived     = 5               // Received fields of our own that mean a loop
	SMTPDContentIdle     = 3 * time.Minute // for each read of content (RFC 5321, 4.5.3.2.5)
	SMTPDDataGrace       = time.Minute     // before smtpd.min_data_rate counts
	SMTPDHandshake       = 30 * time.Second
	SMTPDWriteTimeout    = time.Minute
	SMTPDAuthFailureWait = time.Second // before a failed AUTH is answered
)

// ContentMaxHeader is how long a header may be. What changes and signs it when it leaves holds 1 MiB, our own
// trace included.
const ContentMaxHeader = 960 * value.KiB

// The limits of the stream of events that are not settings.
const (
	AdminEvents    = 4096 // that a follower may be behind, or ask for again
	AdminFollowers = 64   // at a time
)

// The limits of the webhooks that are not settings. A provider waits a few seconds, MailerSend three.
const (
	FeedbackBody        = 1 * value.MiB // of a request
	FeedbackAnswer      = 2 * time.Second
	FeedbackSlots       = 64 // requests that are read at a time
	FeedbackConnections = 256
	FeedbackHeader      = 64 * value.KiB
	FeedbackHeaderTime  = 5 * time.Second
	FeedbackIdle        = time.Minute     // between the requests of a connection
	FeedbackFailures    = 20              // requests without proof that a client may send at once
	FeedbackFailedEvery = 3 * time.Second // in which it may send one more
	FeedbackClients     = 4096            // of which this is known
	FeedbackReports     = 100_000         // that wait for their effect, or could have none
	FeedbackBytes       = 256 * value.MiB // of these
)
