// Package transfer moves what waits in one spool to another: `mailwhy queue export` writes it, `queue import`
// reads it, and the receipt of the import lets the first spool forget it.
//
// The stream is a tar file, format 1, so that tar -x shows what is in it:
//
//	mailwhy-export.json   {"format":1,"batch":"...","exported":"..."}
//	ID.json               envelope, recipients, what is owed, size and SHA-256 of the content
//	ID.eml                the content; both for each message
//	end.json              {"messages":N}
//
// A receipt is a JSON line for each message that the other spool has, written once it is durable there:
//
//	{"batch":"...","id":"...","stored":true}
//
// What always holds, wherever one of the steps is killed: a message is detached, durably, before any of
// it is written, so the first spool neither sends it nor reports on it; it is removed there only by a
// receipt that names it, which the spool that it came from never gives; the second spool stores an id once in
// a batch, so that importing again doubles nothing, and mail can come back in another batch. A stream that
// breaks off is exported again under its batch.
package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/spool"
)

// format is that of the stream.
const format = 1

// The names of the first and the last entry.
const (
	headName = "mailwhy-export.json"
	endName  = "end.json"
)

// maxHead is the largest ID.json that is read, bytes: more than a message of 10,000 recipients has.
const maxHead = 512 << 20

// From is the spool that messages leave; see its methods in package sqlite.
type From interface {
	relay.Lister
	Content(ctx context.Context, id string) (io.ReadCloser, error)
	Detach(ctx context.Context, id, batch string) (*relay.Message, []relay.Entry, bool, error)
	Attach(ctx context.Context, id, batch string) (bool, error)
	Remove(ctx context.Context, id, batch string) (bool, error)
}

// To is the spool that they come to.
type To interface {
	Adopt(ctx context.Context, m *relay.Message, batch string, owed []relay.Entry,
		content io.Reader) (bool, error)
}

// header is the first entry.
type header struct {
	Format   int       `json:"format"`
	Batch    string    `json:"batch"`
	Exported time.Time `json:"exported"`
}

// moved is ID.json. Head and Recipients are those of spool.Record, which keep every byte.
type moved struct {
	ID         string        `json:"id"`
	Lane       string        `json:"lane"`
	Head       string        `json:"head"`
	Recipients string        `json:"recipients"`
	Owed       []relay.Entry `json:"owed,omitempty"`
	Size       int64         `json:"size"`
	SHA256     string        `json:"sha256"`
}

// end is the last entry.
type end struct {
	Messages int `json:"messages"`
}

// Export detaches the messages that f selects for a batch and writes them, and those that are detached for it
// already. Messages that the operator holds, and for which nothing is owed, stay. So do those whose content
// is damaged: damaged has an error for each, and they are as they were.
func Export(ctx context.Context, from From, f relay.QueueFilter, batch string, now time.Time,
	w io.Writer) (n int, damaged []error, err error) {
	out := tar.NewWriter(w)
	if err := writeJSON(out, headName, header{format, batch, now.UTC()}); err != nil {
		return 0, nil, err
	}
	ids, err := selected(ctx, from, f, batch)
	if err != nil {
		return 0, nil, err
	}
	for _, id := range ids {
		wrote, err := exportOne(ctx, from, id, batch, out)
		if bad, ok := errors.AsType[*unreadable](err); ok {
			damaged = append(damaged, fmt.Errorf("%s: %w", id, bad.error))
			_, err = from.Attach(ctx, id, batch)
		}
		if err != nil {
			return n, damaged, fmt.Errorf("%s: %w", id, err)
		}
		if wrote {
			n++
		}
	}
	if err := writeJSON(out, endName, end{n}); err != nil {
		return n, damaged, err
	}
	return n, damaged, out.Close()
}

// unreadable is the error of a content that is damaged, before any of the message is written.
type unreadable struct{ error }

// selected are the messages that f selects, and those that are held for the batch: f need not select them any
// more, since they were queued or deferred before.
func selected(ctx context.Context, from From, f relay.QueueFilter, batch string) (ids []string, err error) {
	err = from.List(ctx, f, func(m *relay.Message) bool { ids = append(ids, m.ID); return true })
	if err != nil {
		return nil, err
	}
	err = from.List(ctx, relay.QueueFilter{State: relay.Held}, func(m *relay.Message) bool {
		if slices.ContainsFunc(m.Recipients, func(r relay.Recipient) bool {
			return r.State == relay.Held && r.HeldWhy == relay.HeldExported+batch
		}) {
			ids = append(ids, m.ID)
		}
		return true
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// exportOne writes one message; false when there is nothing of it to move.
func exportOne(ctx context.Context, from From, id, batch string, out *tar.Writer) (bool, error) {
	m, owed, ok, err := from.Detach(ctx, id, batch)
	if errors.Is(err, relay.ErrNotFound) || err == nil && !ok {
		return false, nil // it has gone since, or is the operator's
	}
	if err != nil {
		return false, err
	}
	sum := sha256.New()
	size, err := copyContent(ctx, from, id, sum)
	if errors.Is(err, relay.ErrCorrupt) {
		return false, &unreadable{err}
	}
	if err != nil {
		return false, err
	}
	r, err := spool.Encode(m)
	if err != nil {
		return false, err
	}
	for i := range owed {
		owed[i].Claim = ""
	}
	head := moved{m.ID, m.Lane, r.Head, r.Recipients, owed, size, hex.EncodeToString(sum.Sum(nil))}
	if err := writeJSON(out, id+".json", head); err != nil {
		return false, err
	}
	if err := out.WriteHeader(&tar.Header{Name: id + ".eml", Mode: 0o600, Size: size}); err != nil {
		return false, err
	}
	_, err = copyContent(ctx, from, id, out)
	return err == nil, err
}

// copyContent writes the content of a message.
func copyContent(ctx context.Context, from From, id string, w io.Writer) (int64, error) {
	c, err := from.Content(ctx, id)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return io.Copy(w, c)
}

func writeJSON(out *tar.Writer, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}

// Receipt says that a message is durable in the other spool.
type Receipt struct {
	Batch  string `json:"batch"`
	ID     string `json:"id"`
	Stored bool   `json:"stored"` // false: it was there before
}

// Import stores the messages of a stream, and calls each with a receipt as soon as one is durable. An error
// says how far it came; what has a receipt stays.
func Import(ctx context.Context, to To, r io.Reader, each func(Receipt) error) (n int, err error) {
	in := tar.NewReader(r)
	var h header
	if err := readJSON(in, headName, &h); err != nil {
		return 0, fmt.Errorf("not an export of mailwhy: %w", err)
	}
	if h.Format != format {
		return 0, fmt.Errorf("the export has format %d, and this release knows format %d: import it with "+
			"the release that wrote it, or a newer one", h.Format, format)
	}
	for {
		next, err := in.Next()
		if err != nil {
			return n, broken(n, h.Batch, err)
		}
		if next.Name == endName {
			return n, checkEnd(in, n)
		}
		stored, id, err := importOne(ctx, to, h.Batch, in, next)
		if err != nil {
			return n, broken(n, h.Batch, err)
		}
		n++
		if err := each(Receipt{h.Batch, id, stored}); err != nil {
			return n, err
		}
	}
}

// broken is the error of an import that breaks off.
func broken(n int, batch string, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the import breaks off after %d messages: %w; what was imported stays, and queue "+
		"export --batch %s writes all of it again", n, err, batch)
}

// checkEnd compares the count in the last entry.
func checkEnd(in *tar.Reader, n int) error {
	var e end
	if err := json.NewDecoder(in).Decode(&e); err != nil {
		return fmt.Errorf("%s: %w", endName, err)
	}
	if e.Messages != n {
		return fmt.Errorf("the export has %d messages, and says that it has %d", n, e.Messages)
	}
	return nil
}

// importOne stores the message whose ID.json is next.
func importOne(ctx context.Context, to To, batch string, in *tar.Reader, next *tar.Header) (stored bool,
	id string, err error) {
	var head moved
	if err := decode(in, next, &head); err != nil {
		return false, "", err
	}
	record := spool.Record{ID: head.ID, Lane: head.Lane, Head: head.Head, Recipients: head.Recipients,
		Size: head.Size}
	m, err := record.DecodeAnyway()
	if err != nil {
		return false, "", fmt.Errorf("%s: %w", next.Name, err)
	}
	content, err := in.Next()
	if err != nil {
		return false, "", err
	}
	if content.Name != head.ID+".eml" || content.Size != head.Size {
		return false, "", fmt.Errorf("%s: %s with %d bytes was expected, and %s with %d is there", next.Name,
			head.ID+".eml", head.Size, content.Name, content.Size)
	}
	checked := &checking{r: in, sum: sha256.New(), want: head.SHA256, name: content.Name}
	stored, err = to.Adopt(ctx, m, batch, head.Owed, checked)
	return stored, head.ID, err
}

// readJSON reads the entry that must be next.
func readJSON(in *tar.Reader, name string, v any) error {
	h, err := in.Next()
	if err != nil {
		return err
	}
	if h.Name != name {
		return fmt.Errorf("it begins with %q, not with %s", h.Name, name)
	}
	return decode(in, h, v)
}

// decode reads an entry that is JSON.
func decode(in *tar.Reader, h *tar.Header, v any) error {
	if h.Size > maxHead {
		return fmt.Errorf("%s has %d bytes", h.Name, h.Size)
	}
	b, err := io.ReadAll(in)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(b)).Decode(v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Done removes from the first spool what receipts name, and returns how many that were.
func Done(ctx context.Context, from From, receipts io.Reader) (n int, err error) {
	for in := json.NewDecoder(receipts); ; {
		var r Receipt
		if err := in.Decode(&r); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, fmt.Errorf("not a receipt of queue import: %w", err)
		}
		if !relay.ValidID(r.ID) || r.Batch == "" {
			return n, fmt.Errorf("not a receipt of queue import: it has the id %q and the batch %q", r.ID,
				r.Batch)
		}
		removed, err := from.Remove(ctx, r.ID, r.Batch)
		if err != nil {
			return n, fmt.Errorf("%s: %w", r.ID, err)
		}
		if removed {
			n++
		}
	}
}

// Undo lets the messages of a batch go on in the first spool. What was imported elsewhere is then sent twice.
func Undo(ctx context.Context, from From, batch string) (n int, err error) {
	var ids []string
	err = from.List(ctx, relay.QueueFilter{}, func(m *relay.Message) bool {
		ids = append(ids, m.ID)
		return true
	})
	for _, id := range ids {
		ok, e := from.Attach(ctx, id, batch)
		if ok {
			n++
		}
		err = errors.Join(err, e)
	}
	return n, err
}
