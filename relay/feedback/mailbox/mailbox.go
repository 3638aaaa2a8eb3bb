// Package mailbox fetches bounce mail from where others put it: IMAP reads a folder of a mail server (RFC
// 9051, RFC 3501), Maildir a directory of this machine. relay/app starts one for each that is configured.
//
// The life of a mail:
//
//  1. It is found: by UID in IMAP, by name in a maildir. Only what was not looked at before is read.
//  2. It is read without a trace: BODY.PEEK sets no flag (RFC 9051, 6.4.5), a file is only opened.
//  3. Take makes it durable and says whether it is feedback, or what a person wrote.
//  4. Feedback gets the treatment that After says. What a person wrote stays exactly as it was, always.
//  5. The state file says that it was looked at.
//
// What always holds: nothing is changed in the mailbox before Take returned nil, and nothing but what Take
// called feedback. A crash between any two steps has a mail read again, never lost; the ids of the events in
// it make that harmless. Whatever the server does, every step ends, by a time limit or with the context.
// Passwords and tokens stand in no error and no log, even if the server repeats them.
//
// The files: imap (the loop), conn (connection and time limits), auth (logging in), scan (finding and
// reading), treat (After), state, maildir.
package mailbox

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Verdict is what Take says of a mail.
type Verdict int

// The verdicts. The zero Verdict leaves a mail alone.
const (
	Personal Verdict = iota // what a person wrote, an automatic answer, a notice of ours: all other mail
	Feedback                // a bounce or a complaint
)

// Take makes a mail durable if it is feedback, and says what it is. After nil nothing more is done to keep
// it. An error is about ourselves, never about what the mail says: the same mail is given again, and
// until it is taken no later one is. It may be given a mail that it has taken before. It returns when ctx is
// done, and keeps no reference to mail.
type Take func(ctx context.Context, mail []byte) (Verdict, error)

// Action is what is done with feedback that was taken.
type Action string

// The actions.
const (
	Leave  Action = "leave" // nothing
	Seen   Action = "seen"  // it is marked as read
	Move   Action = "move"  // it goes to another folder
	Delete Action = "delete"
)

// After is what is done with feedback that was taken.
type After struct {
	Action Action
	Folder string // of Move
}

// ParseAfter reads "leave", "seen", "move:FOLDER" or "delete".
func ParseAfter(s string) (After, error) {
	if folder, ok := strings.CutPrefix(s, "move:"); ok {
		if folder == "" || strings.ContainsAny(folder, "\r\n\x00") {
			return After{}, fmt.Errorf("%q names no folder: write move:FOLDER", s)
		}
		return After{Move, folder}, nil
	}
	switch a := Action(s); a {
	case Leave, Seen, Delete:
		return After{Action: a}, nil
	}
	return After{}, fmt.Errorf("%q is not known: write leave, seen, move:FOLDER or delete", s)
}

// sleep waits, and reports whether the context is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
