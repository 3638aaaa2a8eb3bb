package journal

import (
	"fmt"
	"os"

	"mailwhy/relay"
	"mailwhy/relay/spool"
	"mailwhy/relay/spool/files"
)

// Recovered is a message that a journal holds.
type Recovered struct {
	Message *relay.Message // what can be read of it
	Content []byte
	Damage  string // why it cannot be put back; "" when it is whole
}

// ReadMessages reads the messages that the journal in the file name holds, one that was set aside for
// instance, of this or any earlier format: those that had come and not gone when it was last written to, in
// their order.
func ReadMessages(name string) ([]Recovered, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if version, _, ok := parseFirstPage(b); ok && version > files.Format {
		return nil, fmt.Errorf("%s was written by a newer release: its format is %d, and this release "+
			"knows formats up to %d; read it with the newer one", name, version, files.Format)
	}
	j := Parse(b)
	if _, _, ok := parseFirstPage(b); !ok && j.Empty() {
		return nil, fmt.Errorf("not a journal of a spool: %s", name)
	}
	var all []Recovered
	for _, r := range j.All().Added {
		all = append(all, recovered(r))
	}
	return all, nil
}

// recovered is a record with its checksums looked at.
func recovered(r *spool.Record) Recovered {
	m, err := r.Decode()
	if err == nil {
		err = r.CheckContent()
	}
	if err == nil {
		return Recovered{Message: m, Content: r.Data}
	}
	m, _ = r.DecodeAnyway()
	return Recovered{Message: m, Content: r.Data, Damage: err.Error()}
}
