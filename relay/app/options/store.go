package options

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/build"
	cluster "mailwhy/relay/cluster/postgres"
	"mailwhy/relay/record"
	"mailwhy/relay/record/deliverylog"
	"mailwhy/relay/record/redact"
	"mailwhy/relay/record/webhook"
	"mailwhy/relay/spool/postgres"
	spool "mailwhy/relay/spool/sqlite"
	"mailwhy/relay/suppress"
)

// Spool are the spool's part, for the relay and for commands that open its spool while it does not
// run.
func Spool(cfg *config.Config, log *slog.Logger) spool.Options {
	return spool.Options{
		Dir: cfg.Spool.Dir, Log: log,
		Limits: spool.Limits{
			MaxBytes: int64(cfg.Spool.MaxBytes), MaxMessages: cfg.Spool.MaxMessages,
			FreeFloor: int64(cfg.Spool.FreeFloor), InlineLimit: int64(cfg.Spool.InlineLimit),
		},
		MaxDelay: cfg.Retry.ExpireAfter + cfg.Retry.MaxRetryAfter,
	}
}

// memoryOfLane is how much of a lane's mail a relay keeps in memory between a shared spool and the upstream.
const memoryOfLane = 16 << 20

// SharedSpool are the part of a spool that several relays have.
func SharedSpool(cfg *config.Config, log *slog.Logger) postgres.Options {
	host, err := os.Hostname()
	if err != nil {
		host = cfg.Hostname
	}
	return postgres.Options{
		URL: cfg.Spool.URL.Reveal(), Name: cfg.Cluster.Name, Single: cfg.Spool.Durability == "single",
		CommitTimeout: cfg.Spool.CommitTimeout, Connections: cfg.Spool.Connections,
		Heartbeat: cfg.Cluster.Heartbeat, DeadAfter: cfg.Cluster.DeadAfter, Memory: memoryOfLane,
		Host: host, Version: build.Version(), Now: time.Now, Log: log,
	}
}

// Cluster are the part of what relays share, with the key of their secrets.
func Cluster(cfg *config.Config, log *slog.Logger) (o cluster.Options, err error) {
	c := &cfg.Cluster
	host, err := os.Hostname()
	if err != nil {
		host = cfg.Hostname
	}
	o = cluster.Options{URL: c.URL.Reveal(), Name: c.Name, Connections: clusterConnections, Host: host,
		Version: build.Version(), Heartbeat: c.Heartbeat, DeadAfter: c.DeadAfter,
		Timeout: clusterTimeout, Log: log}
	if c.SecretFile != "" {
		if o.Key, err = os.ReadFile(c.SecretFile); err != nil {
			return o, fmt.Errorf("cluster.secret_file: %w", err)
		}
	}
	return o, nil
}

// What coordination takes of its database, and how long it waits for an answer.
const (
	clusterConnections = 3
	clusterTimeout     = 5 * time.Second
)

// SuppressionFile is where the suppression list is, for commands that open it while no relay runs.
func SuppressionFile(cfg *config.Config) string {
	return filepath.Join(cfg.Spool.Dir, "suppressions.db")
}

// Suppress are the suppression list's part, for the relay and for commands while it does not run.
func Suppress(cfg func() *config.Config, log *slog.Logger) suppress.Options {
	return suppress.Options{
		Path: SuppressionFile(cfg()), FoldCase: cfg().Suppression.FoldCase, Log: log, Now: time.Now,
		Settings: func() suppress.Settings { return suppressSettings(&cfg().Suppression) },
	}
}

// suppressSettings are what a reload may change.
func suppressSettings(c *config.Suppression) suppress.Settings {
	return suppress.Settings{
		Mode: suppress.Mode(c.Mode), PerSender: c.Scope == "sender_domain", TTL: c.TTLs(),
		ComplaintTTL: c.ComplaintTTL, Most: c.MaxEntries,
		Breaker: suppress.Breaker{Share: c.BreakerShare, Least: c.BreakerRecipients},
	}
}

// MayOverride reports whether the mail of a client may override the suppression list.
func MayOverride(c *config.Suppression, client *relay.Client) bool {
	return slices.ContainsFunc(c.OverrideClients, func(name string) bool {
		return name == client.Name || name == client.User
	})
}

// DeliveryLog are the delivery log's part; redact treats the addresses.
func DeliveryLog(cfg *config.Config, stdout io.Writer, redact func(*record.Event),
	log *slog.Logger) deliverylog.Options {
	c := &cfg.DeliveryLog
	return deliverylog.Options{File: c.File, Out: stdout, Format: deliverylog.Format(c.Format),
		Redact: redact, Log: log}
}

// Redactor treats the addresses of events as a configuration says. key is the spool's secret.
func Redactor(cfg *config.Config, key []byte) *redact.Redactor {
	return redact.New(redact.Mode(cfg.Log.Addresses), key)
}

// Endpoints makes the webhooks to which events are sent, or says all that is wrong with them.
func Endpoints(cfg *config.Config) (list []*webhook.Endpoint, err error) {
	for i := range cfg.Webhook {
		w := &cfg.Webhook[i]
		e, bad := webhook.NewEndpoint(webhook.Settings{
			Name: w.Name, URL: w.URL, Secrets: Revealed(w.Secret), Events: w.Events, Categories: w.Categories,
			Clients: w.Clients, Batch: w.Batch, Concurrency: w.Concurrency, Timeout: w.Timeout,
			DisableAfter: w.DisableAfter, Private: w.PrivateAddresses == "allowed", CAFile: w.CAFile,
		})
		list, err = append(list, e), errors.Join(err, bad)
	}
	return list, err
}
