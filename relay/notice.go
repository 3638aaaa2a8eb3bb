package relay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// NoticeKind is what a notice reports (RFC 3464, 2.3.3).
type NoticeKind string

// The kinds of notices.
const (
	NoticeFailed  NoticeKind = "failed"  // failed or expired
	NoticeDelayed NoticeKind = "delayed" // still being tried
	NoticeRelayed NoticeKind = "relayed" // NOTIFY=SUCCESS, and the upstream has no DSN extension

	NoticeOperator NoticeKind = "operator" // a policy tells the operator of a refusal
)

// Notice is a report that the sender, or by a policy the operator, is owed for one recipient: an entry of the
// outbox with TopicReport. Its key is made of its kind and its recipient.
type Notice struct {
	Message   string // queue id
	Recipient int    // index
	Kind      NoticeKind
	Due       time.Time // not before: those of a message are collected for a while
	Digest    bool      // postponed by storm control, for a digest
	Claim     Token     // see Entry
	To        string    // of NoticeOperator: the address that it goes to
}

// digestPayload is the payload of a notice that waits for a digest; others have none.
const digestPayload = "digest"

// Entry is n as an entry of the outbox.
func (n Notice) Entry() Entry {
	e := Entry{
		Message: n.Message, Topic: TopicReport, Key: string(n.Kind) + "/" + strconv.Itoa(n.Recipient),
		Due: n.Due, Claim: n.Claim,
	}
	switch {
	case n.Digest:
		e.Payload = []byte(digestPayload)
	case n.Kind == NoticeOperator:
		e.Payload = []byte(n.To)
	}
	return e
}

// NoticeOf is the notice of an entry with TopicReport.
func NoticeOf(e Entry) (Notice, error) {
	kind, index, _ := strings.Cut(e.Key, "/")
	recipient, err := strconv.Atoi(index)
	if err != nil || recipient < 0 {
		return Notice{}, fmt.Errorf("not a valid key of a notice: %q", e.Key)
	}
	n := Notice{
		Message: e.Message, Recipient: recipient, Kind: NoticeKind(kind), Due: e.Due, Claim: e.Claim,
	}
	if n.Kind == NoticeOperator {
		n.To = string(e.Payload)
	} else {
		n.Digest = string(e.Payload) == digestPayload
	}
	return n, nil
}

// NoticeEntries are the entries of notices.
func NoticeEntries(notices []Notice) []Entry {
	if len(notices) == 0 {
		return nil
	}
	entries := make([]Entry, len(notices))
	for i := range notices {
		entries[i] = notices[i].Entry()
	}
	return entries
}
