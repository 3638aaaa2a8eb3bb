// Package limit bounds the requests without proof that one client may send to the webhooks. The door asks it
// before it reads a request, and tells it what came of the proof.
//
// A client is an address, in IPv6 a /64, since that is what one subscriber has. Each failed proof is a debt,
// which time pays off; who owes too much has to wait. Whoever proves a request owes nothing more: so a
// provider that others use too, to send us theirs, is examined now and then at the least, and heard.
//
// Behind a proxy of ours the client is the last one that X-Forwarded-For names beyond our own network. The
// field of a client that speaks to us itself is not believed, and one that stands behind a proxy which does
// not write it is not limited: its address is everybody's.
package limit

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Limit knows what clients owe. Its fields are set before it is used, all but the last ones. It is safe for
// concurrent use.
type Limit struct {
	Burst int           // requests without proof that a client may send at once
	Every time.Duration // in which it may send one more
	Most  int           // clients that are remembered; of more, any one is forgotten
	Now   func() time.Time

	mu   sync.Mutex
	paid map[netip.Prefix]time.Time // when what a client owes is paid off
}

// Wait is how long a client has to wait, 0 if it has not.
func (l *Limit) Wait(client netip.Addr) time.Duration {
	if !client.IsValid() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	paid, owes := l.paid[prefix(client)]
	if !owes {
		return 0
	}
	return max(0, paid.Sub(l.Now())-time.Duration(l.Burst-1)*l.Every)
}

// Failed notes that a client sent a request that it did not prove.
func (l *Limit) Failed(client netip.Addr) {
	if !client.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.Now(), prefix(client)
	paid, known := l.paid[key]
	if !known && len(l.paid) >= l.Most {
		l.makeRoom(now)
	}
	if l.paid == nil {
		l.paid = map[netip.Prefix]time.Time{}
	}
	if paid.Before(now) {
		paid = now
	}
	l.paid[key] = paid.Add(l.Every)
}

// Proved notes that a client proved a request.
func (l *Limit) Proved(client netip.Addr) {
	if !client.IsValid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.paid, prefix(client))
}

// makeRoom forgets the clients that owe nothing, or any one if all do. l.mu is held.
func (l *Limit) makeRoom(now time.Time) {
	for key, paid := range l.paid {
		if !paid.After(now) {
			delete(l.paid, key)
		}
	}
	for key := range l.paid {
		if len(l.paid) < l.Most {
			return
		}
		delete(l.paid, key)
	}
}

// prefix is the network that counts as one client.
func prefix(client netip.Addr) netip.Prefix {
	bits := 32
	if client.Is6() {
		bits = 64
	}
	p, _ := client.Prefix(bits) // as many bits as every such address has
	return p
}

// Client is who sent a request; the zero Addr where that is not known.
func Client(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := plain(peer.Addr())
	if !ours(client) {
		return client
	}
	path := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(path) - 1; i >= 0; i-- {
		client, err := netip.ParseAddr(strings.TrimSpace(path[i]))
		if err != nil {
			return netip.Addr{}
		}
		if client = plain(client); !ours(client) {
			return client
		}
	}
	return netip.Addr{}
}

// plain is an address without its zone, and as IPv4 if it is one.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// ours reports whether an address is of a network in which a proxy of ours may stand.
func ours(a netip.Addr) bool { return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() }
