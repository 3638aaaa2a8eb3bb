package options

import (
	"fmt"
	"os"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/dsn"
	"mailwhy/relay/report"
)

// Composer are the part of the bounces.
func Composer(cfg *config.Config, key []byte) (dsn.Options, error) {
	o := dsn.Options{Hostname: cfg.Hostname, From: cfg.DSN.From, Key: key,
		ReturnLimit: int64(cfg.DSN.ReturnLimit)}
	file := cfg.DSN.TemplateFile
	if file == "" {
		return o, nil
	}
	b, err := os.ReadFile(file)
	if err == nil {
		o.Templates, err = dsn.ParseTemplates(dsn.English, file, string(b))
	}
	if err != nil {
		return o, fmt.Errorf("dsn.template_file: %w", err)
	}
	return o, nil
}

// Storms is the storm control of bounces.
func Storms(cfg *config.Config) report.StormPolicy {
	return report.StormPolicy{Threshold: cfg.DSN.StormThreshold, Window: cfg.DSN.StormWindow}
}

// Destination is where bounces about m go. In a sandbox that redirects, only senders that it allows get them.
func Destination(cfg *config.Config, allows func(string) bool, m *relay.Message) report.Destination {
	to := cfg.Sandbox.Redirect
	if relayed := cfg.DSN.Route != "off" && cfg.DSN.Route != "maildir"; to != "" && relayed &&
		!allows(m.Envelope.From) {
		return report.Destination{Operator: to, SkipSenders: true}
	}
	switch cfg.DSN.Route {
	case "off":
		return report.Destination{Off: true}
	case "maildir":
		return report.Destination{Maildir: cfg.DSN.Maildir}
	case "operator":
		return report.Destination{Operator: cfg.DSN.Operator, SkipSenders: true}
	case "both":
		return report.Destination{Operator: cfg.DSN.Operator}
	}
	return report.Destination{}
}
