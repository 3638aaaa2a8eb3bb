// Package systemd tells the service manager how a relay stands, as sd_notify(3) and systemd.service(5) have
// it. `mailwhy serve` follows its relay with it; the unit has Type=notify, or notify-reload, and may have
// WatchdogSec=.
//
//	READY=1               once every listener answers, and after each reload
//	RELOADING=1           at the beginning of a reload, with MONOTONIC_USEC in the same datagram
//	STOPPING=1            when the relay is to stop; EXTEND_TIMEOUT_USEC then, as long as it needs
//	WATCHDOG=1            while the spool answers
//	STATUS=...            the phase, and how much is in the spool
//
// What always holds: without NOTIFY_SOCKET nothing is sent and nothing runs; READY comes only from a relay
// that serves, whatever was reloaded meanwhile; a spool that does not answer gets no WATCHDOG=1, so that
// systemd restarts the relay. A datagram that cannot be sent is logged once and stops nothing.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"mailwhy/relay/lifecycle"
)

// statusEvery is how often the status is looked at, and how often the time to stop is extended.
const statusEvery = 5 * time.Second

// Notifier speaks to the service manager. Its methods are safe for concurrent use.
type Notifier struct {
	life *lifecycle.Life
	log  *slog.Logger

	mu       sync.Mutex
	status   string // as it was last sent
	reloads  int    // that are under way
	ready    bool   // READY=1 was sent
	stopping bool   // STOPPING=1 was sent
	failed   bool   // a datagram could not be sent
}

// New makes the Notifier of a relay.
func New(life *lifecycle.Life, log *slog.Logger) *Notifier { return &Notifier{life: life, log: log} }

// Run tells of the relay until ctx ends, which is when the process is about to. ready is closed when the
// relay serves, and stop when it is to stop.
func (n *Notifier) Run(ctx context.Context, ready, stop <-chan struct{}) {
	if sent, _ := daemon.SdNotify(false, "STATUS=starting"); !sent {
		return // nobody asked
	}
	watchdog, interval := n.watchdog()
	defer watchdog.Stop()
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ready:
			ready = nil
			n.serves()
		case <-stop:
			stop = nil
			n.stops()
		case <-watchdog.C:
			n.alive(ctx, interval)
			continue
		case <-status.C:
		}
		n.tellStatus(ctx)
	}
}

// watchdog ticks twice in the time after which the service manager gives the relay up; never where it does
// not.
func (n *Notifier) watchdog() (*time.Ticker, time.Duration) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("no watchdog for systemd", "err", err)
	}
	if interval <= 0 || err != nil {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t, 0
	}
	return time.NewTicker(interval / 2), interval
}

// alive sends the sign of life, if the spool gives one.
func (n *Notifier) alive(ctx context.Context, interval time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, interval/4)
	defer cancel()
	if err := n.life.Live(ctx); err != nil {
		n.log.Error("no sign of life for systemd's watchdog", "err", err)
		return
	}
	n.send(daemon.SdNotifyWatchdog)
}

// serves tells that the relay serves.
func (n *Notifier) serves() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready = true; n.reloads == 0 && !n.stopping {
		n.sendLocked(daemon.SdNotifyReady)
	}
}

// stops tells that the relay stops.
func (n *Notifier) stops() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopping = true
	n.sendLocked(daemon.SdNotifyStopping)
}

// Reloading tells that a reload begins. The caller calls done when it is over, with its error. Systemd takes
// RELOADING without the time in the same datagram for nothing, and waits for it.
func (n *Notifier) Reloading() (done func(error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reloads++
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		n.sendLocked(daemon.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
	}
	return func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.status = ""
		lines := []string{daemon.SdNotifyReady}
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			lines = append(lines, "STATUS=not reloaded: "+first)
		}
		if n.reloads--; n.reloads == 0 && n.ready && !n.stopping {
			n.sendLocked(lines...)
		}
	}
}

// tellStatus sends the status, if it has changed, and more time to stop, if that is what the relay does.
func (n *Notifier) tellStatus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusEvery/2)
	defer cancel()
	text := string(n.life.Phase()) + ": "
	if stat, err := n.life.Stat(ctx); err != nil {
		text += err.Error()
	} else {
		text += fmt.Sprintf("%d messages in the spool, %d on their way", stat.Messages, stat.Leased)
	}
	var lines []string
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != n.status {
		n.status = text
		lines = append(lines, "STATUS="+text)
	}
	if n.stopping {
		lines = append(lines, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt((4*statusEvery).Microseconds(), 10))
	}
	if len(lines) > 0 {
		n.sendLocked(lines...)
	}
}

// send sends one datagram.
func (n *Notifier) send(lines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sendLocked(lines...)
}

// sendLocked is send with n.mu held, so that datagrams keep their order.
func (n *Notifier) sendLocked(lines ...string) {
	_, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	if err != nil && !n.failed {
		n.failed = true
		n.log.Warn("systemd cannot be told how the relay stands", "err", err)
	}
}
