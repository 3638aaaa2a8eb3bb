package mailbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"mailwhy/relay/internal/durable"
)

// position is how far a folder was read. UIDs grow, and mean nothing once UIDVALIDITY is another one (RFC
// 9051, 2.3.1.1).
type position struct {
	Mailbox  string `json:"mailbox"` // whose it is: a changed configuration starts anew
	Validity uint32 `json:"uid_validity"`
	UID      uint32 `json:"uid"` // of the last mail that was dealt with
}

// looked are the files of a maildir's new directory that were dealt with and stay there.
type looked struct {
	Maildir string   `json:"maildir"`
	Names   []string `json:"names"`
}

// readState reads a state file into v; without one v stays as it is. After an error the mailbox may as well
// be read from its start.
func readState(name string, v any) error {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("state file %s: %w", name, err)
	}
	return nil
}

// writeState writes a state file, durably.
func writeState(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(name, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}
