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
)

// Notice is a report that the sender is owed for one recipient: an entry of the outbox with TopicReport. Its
// key is made of its kind and its recipient.
type Notice struct {
	Message   string // queue id
	Recipient int    // index
	Kind      NoticeKind
	Due       time.Time // not before: those of a message are collected for a while
	Digest    bool      // postponed by storm control, for a digest
	Claim     Token     // see Entry
}

// digestPayload is the payload of a notice that waits for a digest; others have none.
const digestPayload = "digest"

// Entry is n as an entry of the outbox.
func (n Notice) Entry() Entry {
	e := Entry{
		Message: n.Message, Topic: TopicReport, Key: string(n.Kind) + "/" + strconv.Itoa(n.Recipient),
		Due: n.Due, Claim: n.Claim,
	}
	if n.Digest {
		e.Payload = []byte(digestPayload)
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
	return Notice{
		Message: e.Message, Recipient: recipient, Kind: NoticeKind(kind), Due: e.Due,
		Digest: string(e.Payload) == digestPayload, Claim: e.Claim,
	}, nil
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
