package app

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwhy/config"
	"mailwhy/relay"
	"mailwhy/relay/app/options"
	"mailwhy/relay/dsn"
	"mailwhy/relay/feedback/mail"
	"mailwhy/relay/feedback/mailbox"
	"mailwhy/relay/internal/returnpath"
	"mailwhy/relay/internal/tlsconf"
	"mailwhy/relay/smtpd"
	"mailwhy/relay/upstream"
	"mailwhy/relay/upstream/stamp"
)

// The sources of bounce mail that are not a mailbox.
const (
	bounceSource = config.SourceBounces
	pipeSource   = config.SourcePipe
)

// newReturnPaths are our own return paths; nil where none are configured. Without a key of their own they are
// made with one that comes from the spool's.
func newReturnPaths(cfg *config.Config, spoolKey []byte) (*returnpath.Paths, error) {
	c := &cfg.Feedback.ReturnPath
	if c.Address == "" {
		return nil, nil
	}
	mac := hmac.New(sha256.New, spoolKey)
	mac.Write([]byte("return paths"))
	keys := [][]byte{mac.Sum(nil)}
	if c.KeyFile != "" {
		b, err := os.ReadFile(c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("feedback.return_path.key_file: %w", err)
		}
		keys = nil
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				keys = append(keys, []byte(line))
			}
		}
	}
	paths, err := returnpath.New(c.Address, keys...)
	if err != nil {
		return nil, fmt.Errorf("feedback.return_path: %w", err)
	}
	return paths, nil
}

// addStamp says what is added to mail for an upstream, so that what comes back can be tied to it: nothing
// where feedback is off. Upstreams of one account share their connections, so the mail's lane decides.
func addStamp(cfg *config.Config, name string, paths *returnpath.Paths, o *upstream.Options) {
	if !cfg.Feedback.On() {
		return
	}
	c := &cfg.Feedback.ReturnPath
	makers := map[string]*stamp.Maker{}
	for other, u := range cfg.Upstream {
		if u.Account() != cfg.Upstream[name].Account() {
			continue
		}
		maker := &stamp.Maker{EnvID: true}
		if slices.Contains(c.Upstreams, other) {
			maker.Paths, maker.PerRecipient = paths, c.PerRecipient
			if c.PerRecipient {
				o.RcptMax = 1
			}
		}
		if p := tellingProvider(cfg, other); u.Tag == "always" || u.Tag == "auto" && stamp.Hides(p) {
			maker.Provider = p
		}
		makers[other] = maker
	}
	o.Stamp = func(t *relay.Transaction, to []int) stamp.Stamp {
		if maker := makers[t.Message.Lane]; maker != nil {
			return maker.Stamp(t, to)
		}
		return stamp.Stamp{}
	}
}

// tellingProvider is the provider whose events are about the mail of an upstream; "" if none is known.
func tellingProvider(cfg *config.Config, name string) string {
	for _, w := range cfg.Feedback.Webhook {
		if _, known := stamp.TagOf(w.Provider, ""); known &&
			(slices.Contains(w.Upstreams, name) || len(w.Upstreams) == 0 && len(cfg.Upstream) == 1) {
			return w.Provider
		}
	}
	return cfg.Upstream[name].Preset
}

// mailReader reads bounce mail.
func (r *Relay) mailReader(p *parts) *mail.Reader {
	return &mail.Reader{Paths: p.paths, Own: func(id string) bool { return dsn.OwnID(r.key, id) }}
}

// takesMail reports whether bounce mail comes, or came, through a source of this name.
func (r *Relay) takesMail(name string) bool {
	return name == bounceSource || name == pipeSource ||
		slices.ContainsFunc(r.cfg.Load().Feedback.Mailbox,
			func(m config.Mailbox) bool { return m.Name == name })
}

// intake takes in the mail of a source.
func (r *Relay) intake(source string) *mail.Intake {
	return &mail.Intake{
		Source: source, Reader: r.feedback.mails.Load(), Journal: r.feedback.store, Now: time.Now,
		Record: func(v mail.Verdict, err error) {
			if err != nil {
				r.log.Error("a bounce mail was not taken", "source", source, "err", err)
				return
			}
			r.log.Debug("mail was looked at", "source", source, "verdict", v)
		},
	}
}

// bounces is what a listener for bounce mail does; nil without return paths of our own.
func (r *Relay) bounces(paths *returnpath.Paths) *smtpd.Bounces {
	if r.feedback == nil || paths == nil {
		return nil
	}
	return &smtpd.Bounces{
		Expected: func(address string) bool { _, ours := paths.Parse(address); return ours },
		Keep:     mail.MaxSize,
		Take: func(ctx context.Context, b *smtpd.Bounce) error {
			m := &mail.Mail{
				Content: b.Content, From: b.From, To: b.To, Peer: b.Peer, Hello: b.Hello, Cut: b.Cut,
			}
			if m.From == "" {
				m.From = mail.NullSender
			}
			verdict, err := r.intake(bounceSource).Take(ctx, m)
			if err == nil && verdict == mail.VerdictPerson {
				err = smtpd.ErrNotBounce
			}
			return err
		},
	}
}

// box is a mailbox that is read.
type box interface{ Run(context.Context) }

// How a mailbox is read. An IMAP server may end a connection that idles for 29 minutes (RFC 2177, 3).
const (
	boxPoll       = time.Minute
	boxRenew      = 25 * time.Minute
	boxTimeout    = 30 * time.Second
	boxBackoff    = 5 * time.Second
	boxMaxBackoff = 15 * time.Minute
)

// newBoxes makes what reads the mailboxes.
func (r *Relay) newBoxes(cfg *config.Config) (boxes []box, err error) {
	var errs []error
	for i := range cfg.Feedback.Mailbox {
		b, err := r.newBox(cfg, &cfg.Feedback.Mailbox[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("feedback.mailbox[%d]: %w", i, err))
			continue
		}
		boxes = append(boxes, b)
	}
	return boxes, errors.Join(errs...)
}

// newBox makes what reads one mailbox.
func (r *Relay) newBox(cfg *config.Config, m *config.Mailbox) (box, error) {
	after, err := mailbox.ParseAfter(m.After)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(cfg.Spool.Dir, boxStateFile(m))
	take := r.takeFrom(m.Name)
	if m.Maildir != "" {
		return mailbox.NewMaildir(mailbox.MaildirOptions{
			Dir: m.Maildir, After: after, StateFile: state, MaxSize: mail.MaxSize + 1, Poll: boxPoll,
			Backoff: boxBackoff, MaxBackoff: boxMaxBackoff, Take: take, Log: r.log,
		})
	}
	o := mailbox.IMAPOptions{
		Host: m.Host, Port: m.Port, TLS: boxTLS(m), Username: m.Username, Password: m.Password.Reveal(),
		Folder: m.Folder, After: after, StateFile: state, Lookback: cfg.Feedback.Remember,
		MaxSize: mail.MaxSize + 1, Poll: boxPoll, Renew: boxRenew, Timeout: boxTimeout, Backoff: boxBackoff,
		MaxBackoff: boxMaxBackoff, Take: take, Log: r.log, Now: time.Now,
	}
	if m.OAuthUpstream != "" {
		o.Token = r.boxToken(m.OAuthUpstream)
	}
	return mailbox.NewIMAP(o)
}

// boxStateFile is the name of the file that says how far a mailbox was read: of what it is, not of its name.
func boxStateFile(m *config.Mailbox) string {
	what := m.Maildir
	if what == "" {
		what = fmt.Sprintf("%s\n%d\n%s\n%s", m.Host, m.Port, m.Username, m.Folder)
	}
	sum := sha256.Sum256([]byte(what))
	return fmt.Sprintf("mailbox-%x.json", sum[:8])
}

// boxTLS are the TLS settings of a mailbox.
func boxTLS(m *config.Mailbox) mailbox.TLS {
	t := mailbox.TLS{Mode: tlsconf.None, CAFile: m.CAFile, MinVersion: options.TLSVersion("1.2")}
	switch m.TLS {
	case "starttls":
		t.Mode = tlsconf.StartTLS
	case "implicit":
		t.Mode = tlsconf.Implicit
	}
	return t
}

// boxToken gives the access tokens of an upstream.
func (r *Relay) boxToken(name string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, refused string) (string, error) {
		tokens := r.tokens.Load()
		if tokens == nil || (*tokens)[name] == nil {
			return "", fmt.Errorf("upstream %q has no access tokens any more", name)
		}
		cached := (*tokens)[name]
		t, err := cached.Token(ctx)
		if err == nil && t.Access.Reveal() == refused && cached.Refused(t) {
			t, err = cached.Token(ctx)
		}
		return t.Access.Reveal(), err
	}
}

// takeFrom takes in the mail of a mailbox.
func (r *Relay) takeFrom(name string) mailbox.Take {
	return func(ctx context.Context, content []byte) (mailbox.Verdict, error) {
		verdict, err := r.intake(name).Take(ctx, &mail.Mail{Content: content})
		if err != nil || !verdict.Taken() {
			return mailbox.Personal, err
		}
		return mailbox.Feedback, nil
	}
}
