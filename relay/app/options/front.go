// Package options turns the configuration into each room's Options, and does nothing else: one function a
// room, each a pure function of the configuration but for the files that it names. relay/app builds the relay
// from them, relay/app/query what commands ask without one.
package options

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"mailwhy/config"
	"mailwhy/relay/content"
	"mailwhy/relay/smtpd"
)

// Access is who may send what, with the users file read.
func Access(cfg *config.Config) (smtpd.Access, error) {
	a := smtpd.Access{
		AuthRequired: cfg.Access.RequireAuth, Unnamed: !cfg.ClientsNamed(),
		AllowSenders: cfg.Access.AllowSenders, DenySenders: cfg.Access.DenySenders,
		AllowRecipients: cfg.Access.AllowRecipients,
		DenyRecipients:  cfg.Access.DenyRecipients,
	}
	for _, c := range cfg.Client {
		a.Networks = append(a.Networks,
			smtpd.Network{Name: c.Name, Prefixes: c.Networks, Senders: c.Senders,
				Lenient: c.Lenient,
				Auth:    networkAuth(c.Auth), Accept: acceptMode(c.AcceptMode)})
	}
	if inline := strings.Fields(cfg.Access.Users.Reveal()); len(inline) > 0 {
		var err error
		if a.Users, err = smtpd.ParseUsers(strings.NewReader(strings.Join(inline, "\n"))); err != nil {
			return a, fmt.Errorf("access.users: %w", err)
		}
		return a, nil
	}
	if cfg.Access.UsersFile == "" {
		return a, nil
	}
	f, err := os.Open(cfg.Access.UsersFile)
	if err != nil {
		return a, err
	}
	defer f.Close()
	if a.Users, err = smtpd.ParseUsers(f); err != nil {
		return a, fmt.Errorf("access.users_file %s: %w", cfg.Access.UsersFile, err)
	}
	return a, nil
}

// networkAuth is how a client can authenticate.
func networkAuth(word string) smtpd.NetworkAuth {
	switch word {
	case "clear":
		return smtpd.AuthClear
	case "any":
		return smtpd.AuthAny
	}
	return smtpd.AuthTLS
}

// acceptMode is what happens to mail before its client is answered.
func acceptMode(word string) smtpd.AcceptMode {
	switch word {
	case "queue":
		return smtpd.AcceptQueue
	case "try":
		return smtpd.AcceptTry
	}
	return smtpd.AcceptAsListener
}

// FrontLimits are the limits of the front door.
func FrontLimits(cfg *config.Config) smtpd.Limits {
	c := &cfg.SMTPD
	return smtpd.Limits{
		Connections:     c.MaxConnections,
		ClientConns:     c.MaxConnectionsPerClient,
		Messages:        c.MaxMessagesPerConnection,
		Errors:          c.MaxErrors,
		AuthFailures:    c.MaxAuthFailures,
		OtherCommands:   config.SMTPDOtherCommands,
		Recipients:      c.MaxRecipients,
		MessageSize:     int64(c.MaxMessageSize),
		CommandLine:     int(c.MaxCommandLength),
		ContentLine:     int(c.MaxLineLength),
		HeaderPeek:      int(config.SMTPDHeaderPeek),
		Memory:          int64(c.MaxMemory),
		InlineLimit:     int64(cfg.Spool.InlineLimit),
		Received:        c.MaxHops,
		OwnReceived:     config.SMTPDOwnReceived,
		DataRate:        int64(c.MinDataRate),
		CommandTimeout:  c.IdleTimeout,
		DataTimeout:     min(c.IdleTimeout, config.SMTPDContentIdle),
		DataTotal:       c.DataTimeout,
		DataGrace:       config.SMTPDDataGrace,
		HandshakeTime:   config.SMTPDHandshake,
		WriteTimeout:    config.SMTPDWriteTimeout,
		AuthFailureWait: config.SMTPDAuthFailureWait,
	}
}

// AcceptModes are those of the listeners, by address.
func AcceptModes(cfg *config.Config) map[string]smtpd.AcceptMode {
	modes := map[string]smtpd.AcceptMode{}
	for _, l := range Listens(cfg) {
		modes[l.Addr] = l.Accept
	}
	return modes
}

// Listens are the listeners of a configuration.
func Listens(cfg *config.Config) []smtpd.Listen {
	var ls []smtpd.Listen
	for _, l := range cfg.Listen {
		network, addr := "tcp", l.Address
		if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
			network, addr = "unix", path
		}
		ls = append(ls, smtpd.Listen{Network: network, Addr: addr, TLS: l.TLS == "implicit",
			Clear: l.TLS == "none", MinTLS: TLSVersion(l.TLSMinVersion), Proxy: l.ProxyProtocol,
			Bounces: l.Role == "bounces", LMTP: l.Protocol == "lmtp", Accept: acceptMode(l.AcceptMode)})
	}
	return ls
}

// Mender makes what repairs contents.
func Mender(cfg *config.Config, log *slog.Logger) *content.Mender {
	return content.New(content.Options{
		Hostname: cfg.Hostname, Domain: cfg.Content.DefaultDomain, Drop: cfg.Content.DropHeaders,
		Complete: cfg.SMTPD.AddMissingHeaders, MaxHeader: int(config.ContentMaxHeader), Log: log,
	})
}
