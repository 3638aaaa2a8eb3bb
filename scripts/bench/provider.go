package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The events of a provider: so many requests a second, with so many events each.
const (
	requestsPerSecond = 20
	eventsPerRequest  = 100
	requestsAtOnce    = 8
)

// provider tells that each message that was relayed was delivered, in batches as busy
// providers send them. Where fewer were relayed than are to be told of, those that were are said to be
// delayed meanwhile, so that the rate is held.
type provider struct {
	hook string // host:port
	log  relayedLog
	sent atomic.Int64 // events that were answered with 200

	recent []relayed // the last that were told of
	again  int       // events about these so far

	stop   context.CancelFunc
	done   sync.WaitGroup
	server *http.Server // of our own, in place of a relay's; nil when there is none
}

// telling tells the relay.
func telling(s *setting) (*provider, error) {
	p := &provider{hook: s.hook, log: relayedLog{name: s.log}}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	p.done.Go(func() { p.run(ctx) })
	return p, nil
}

// tellingNobody tells a server that does nothing, so that the cost of telling is in both measurements.
func tellingNobody(s *setting) (*provider, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.hook = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	})}
	p, err := telling(s)
	p.server = server
	p.done.Go(func() { server.Serve(l) })
	return p, err
}

// taking is an application that takes the relay's events.
func taking(s *setting) (*provider, error) {
	l, err := net.Listen("tcp", s.hook)
	if err != nil {
		return nil, err
	}
	p := &provider{stop: func() {}}
	p.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.sent.Add(int64(bytes.Count(body, []byte(`"id":"evt_`))))
		w.WriteHeader(http.StatusNoContent)
	})}
	p.done.Go(func() { p.server.Serve(l) })
	return p, nil
}

// end ends it.
func (p *provider) end() {
	p.stop()
	if p.server != nil {
		p.server.Close()
	}
	p.done.Wait()
	p.log.close()
}

// run tells until ctx ends.
func (p *provider) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / requestsPerSecond)
	defer tick.Stop()
	var requests sync.WaitGroup
	defer requests.Wait()
	slots := make(chan struct{}, requestsAtOnce)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		events := p.events()
		if len(events) == 0 {
			continue
		}
		slots <- struct{}{}
		requests.Go(func() {
			p.tell(ctx, events)
			<-slots
		})
	}
}

// events are those of one request; none before the first message was relayed.
func (p *provider) events() (events []any) {
	fresh := p.log.next(eventsPerRequest)
	for i := range fresh {
		events = append(events, fresh[i].event("delivery", "e-"+fresh[i].ID))
	}
	p.recent = append(p.recent, fresh...)
	p.recent = p.recent[max(0, len(p.recent)-10*eventsPerRequest):]
	for len(events) < eventsPerRequest && len(p.recent) > 0 {
		e := &p.recent[p.again%len(p.recent)]
		p.again++
		events = append(events, e.event("delay", "d-"+strconv.Itoa(p.again)))
	}
	return events
}

// tell sends one request.
func (p *provider) tell(ctx context.Context, events []any) {
	body, err := json.Marshal(events)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.hook+"/sparkpost",
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
		return
	}
	p.sent.Add(int64(len(events)))
}

// relayed is a line of the delivery log, as far as it matters here.
type relayed struct {
	Event string    `json:"event"`
	ID    string    `json:"id"`
	To    string    `json:"to"`
	Time  time.Time `json:"time"`
}

// event is SparkPost's of a kind about the message.
func (e *relayed) event(kind, id string) any {
	return map[string]any{"msys": map[string]any{"message_event": map[string]any{
		"type": kind, "raw_rcpt_to": e.To, "message_id": "m-" + e.ID, "event_id": id,
		"rcpt_meta": map[string]string{"mw": e.ID}, "timestamp": strconv.FormatInt(e.Time.Unix(), 10),
	}}}
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
