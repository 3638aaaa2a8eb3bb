package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mailwhy/relay/sign"
	"mailwhy/relay/smtptest"
)

// variant is mailwhy with more switched on than by default.
type variant struct {
	name   string
	about  string
	conf   func(*setting) (string, error)
	beside func(*setting) (stop func()) // runs beside the relay; nil when nothing does
}

// setting is where a variant runs.
type setting struct {
	dir  string
	log  string // the delivery log
	hook string // host:port of the webhooks
}

// variants are all there are.
func variants() []variant {
	return []variant{
		{name: "dkim", about: "signs with RSA, 2048 bits", conf: signing("rsa")},
		{name: "ed25519", about: "signs with Ed25519", conf: signing("ed25519")},
		{name: "feedback", about: "remembers what was relayed", conf: hearing},
		{
			name: "events", about: "and is told of it, up to 2,000 times a second", conf: hearing,
			beside: telling,
		},
	}
}

// variantByName is a variant.
func variantByName(name string) (variant, error) {
	for _, v := range variants() {
		if v.name == name {
			return v, nil
		}
	}
	return variant{}, fmt.Errorf("not a variant of mailwhy: %q; there are %s", name, variantNames())
}

// variantNames are the names of all variants.
func variantNames() string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.name+" ("+v.about+")")
	}
	return strings.Join(names, ", ")
}

// signing is the configuration that signs the load's mail with a key of a type.
func signing(kind string) func(*setting) (string, error) {
	return func(s *setting) (string, error) {
		_, file, err := sign.Generate(kind)
		if err != nil {
			return "", err
		}
		name := filepath.Join(s.dir, "key.pem")
		return fmt.Sprintf("[[dkim]]\ndomain = \"load.test\"\nselector = \"s\"\nkey_file = %q\n", name),
			os.WriteFile(name, file, 0o600)
	}
}

// hearing is the configuration that takes events in.
func hearing(s *setting) (conf string, err error) {
	s.hook, err = smtptest.FreeAddr()
	return fmt.Sprintf("[feedback]\nlisten = %q\n[[feedback.webhook]]\nprovider = \"sparkpost\"\n"+
		"credential = [\"bench:a-long-enough-secret\"]\n", s.hook), err
}

// The events of a provider: as many requests a second, with as many events each at most.
const (
	requestsPerSecond = 20
	eventsPerRequest  = 100
)

// telling tells that each message that was relayed was delivered, in batches as busy providers send them.
func telling(s *setting) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		r := &relayedLog{name: s.log}
		defer r.close()
		tick := time.NewTicker(time.Second / requestsPerSecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if lines := r.next(eventsPerRequest); len(lines) > 0 {
				tell(ctx, s.hook, lines)
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// relayed is a line of the delivery log, as far as it matters here.
type relayed struct {
	Event string    `json:"event"`
	ID    string    `json:"id"`
	To    string    `json:"to"`
	Time  time.Time `json:"time"`
}

// relayedLog reads a delivery log while it is written.
type relayedLog struct {
	name string
	file *os.File
	r    *bufio.Reader
	part string // of a line that is not whole yet
}

// next are up to n messages that were relayed since the last call.
func (l *relayedLog) next(n int) (list []relayed) {
	if l.file == nil {
		f, err := os.Open(l.name)
		if err != nil {
			return nil // nothing has been written yet
		}
		l.file, l.r = f, bufio.NewReaderSize(f, 1<<20)
	}
	for len(list) < n {
		line, err := l.r.ReadString('\n')
		if err != nil {
			l.part += line
			return list
		}
		var e relayed
		if json.Unmarshal([]byte(l.part+line), &e) == nil && e.Event == "relayed" {
			list = append(list, e)
		}
		l.part = ""
	}
	return list
}

func (l *relayedLog) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// tell sends one request.
func tell(ctx context.Context, hook string, list []relayed) {
	var events []any
	for _, e := range list {
		events = append(events, map[string]any{"msys": map[string]any{"message_event": map[string]any{
			"type": "delivery", "raw_rcpt_to": e.To, "message_id": "m-" + e.ID, "event_id": "e-" + e.ID,
			"rcpt_meta": map[string]string{"mw": e.ID}, "timestamp": fmt.Sprint(e.Time.Unix()),
		}}})
	}
	body, err := json.Marshal(events)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hook+"/sparkpost",
		strings.NewReader(string(body)))
	if err != nil {
		return
	}
	req.SetBasicAuth("bench", "a-long-enough-secret")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the relay is ending
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, "bench: the webhook answered", res.Status)
	}
}
