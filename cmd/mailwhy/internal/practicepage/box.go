package practicepage

import (
	"slices"
	"sync"
	"time"

	"mailwhy/relay/smtptest"
)

// mail is one that was taken.
type mail struct {
	ID      int
	From    string
	To      []string
	Size    int64
	Arrived time.Time
	Hello   string
	User    string
	TLS     string
	Params  string // of MAIL
	Subject string
	Content []byte // the first bytes, if the whole is too large
}

// Cut reports whether the content is not kept to its end.
func (m *mail) Cut() bool { return int64(len(m.Content)) < m.Size }

// box holds the newest mails, within a number and a size.
type box struct {
	most  int
	bytes int64

	mu    sync.Mutex
	mails []*mail // oldest first
	size  int64
	last  int
}

func newBox(most int, bytes int64) *box { return &box{most: most, bytes: bytes} }

// put adds a mail, in the place of the oldest ones if there is no room.
func (b *box) put(from *smtptest.Message) {
	content := from.Content
	if int64(len(content)) > b.bytes {
		content = slices.Clone(content[:b.bytes]) // the rest is let go
	}
	m := &mail{From: from.From, Size: from.Size, Arrived: from.Arrived, Hello: from.Hello, User: from.User,
		TLS: from.TLS, Params: from.FromParams, Content: content, Subject: subject(content)}
	for _, r := range from.To {
		m.To = append(m.To, r.Address)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	m.ID = b.last
	b.mails = append(b.mails, m)
	b.size += int64(len(m.Content))
	for len(b.mails) > b.most || b.size > b.bytes {
		b.size -= int64(len(b.mails[0].Content))
		b.mails = slices.Delete(b.mails, 0, 1)
	}
}

// get is the mail of an id; nil if it is not there.
func (b *box) get(id int) *mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.mails {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// list are all mails, newest first.
func (b *box) list() []*mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.Clone(b.mails)
	slices.Reverse(all)
	return all
}

// newest is the id of the newest mail that ever was.
func (b *box) newest() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// remove removes the mails that which picks.
func (b *box) remove(which func(*mail) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mails = slices.DeleteFunc(b.mails, func(m *mail) bool {
		if !which(m) {
			return false
		}
		b.size -= int64(len(m.Content))
		return true
	})
}
