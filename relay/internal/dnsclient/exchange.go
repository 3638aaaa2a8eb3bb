package dnsclient

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// bufferSize is offered for UDP answers: what passes every path in one piece (RFC 9715).
const bufferSize = 1232

// maxName is the length of a name in text, with its final dot (RFC 1035, 2.3.4).
const maxName = 254

// question is what is asked, ready to be sent.
type question struct {
	dnsmessage.Question
	id     uint16
	packed []byte
}

// newQuestion packs a question for a recursive server, with the size of answers that we take (RFC 6891).
func newQuestion(name string, t Type) (*question, error) {
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	n, err := dnsmessage.NewName(name)
	if err != nil || len(name) > maxName {
		return nil, errors.New("the name is too long")
	}
	var random [2]byte
	rand.Read(random[:])
	q := &question{id: binary.BigEndian.Uint16(random[:])}
	q.Question = dnsmessage.Question{Name: n, Type: dnsmessage.Type(t), Class: dnsmessage.ClassINET}
	var edns dnsmessage.ResourceHeader
	if err := edns.SetEDNS0(bufferSize, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	q.packed, err = (&dnsmessage.Message{
		Header:      dnsmessage.Header{ID: q.id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{q.Question},
		Additionals: []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}},
	}).Pack()
	return q, err
}

// exchange sends q and reads the reply, within the client's timeout.
func (c *Client) exchange(ctx context.Context, q *question, network, server string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return q.overTCP(conn)
	}
	return q.overUDP(conn)
}

// overTCP is the exchange with each message behind its length (RFC 1035, 4.2.2), sent in one write (RFC 7766,
// 8).
func (q *question) overTCP(conn net.Conn) (*reply, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(q.packed)))
	if _, err := conn.Write(append(framed, q.packed...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return nil, err
	}
	r, err := parse(message)
	if err == nil && !r.to(q) {
		err = errors.New("the server answered another question")
	}
	return r, err
}

// overUDP passes over what does not answer q: it may be late, or forged (RFC 5452, 9.1).
func (q *question) overUDP(conn net.Conn) (*reply, error) {
	if _, err := conn.Write(q.packed); err != nil {
		return nil, err
	}
	buffer := make([]byte, bufferSize)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if r, err := parse(buffer[:n]); r != nil && r.to(q) {
			return r, err
		}
	}
}
