package webhook

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mailwhy/relay/internal/durable"
	"mailwhy/relay/record/webhook/eventlog"
)

// state is what is kept of a webhook over restarts. It may be somewhat old: then events are sent again.
type state struct {
	URL      string       `json:"url"`
	Cursor   eventlog.Pos `json:"cursor"`  // from here on everything is still to be sent
	Waiting  []waiting    `json:"waiting"` // and of what is before, these
	Standing standing     `json:"standing"`
	Lost     int64        `json:"lost,omitempty"` // that the webhook has not been told of
}

// waiting is an event that waits, by its place in the log.
type waiting struct {
	At       eventlog.Pos `json:"at"`
	Attempts int          `json:"attempts,omitempty"`
	Due      time.Time    `json:"due,omitzero"`
	Group    int          `json:"group,omitempty"` // number of the request that it was sent with
}

const stateSuffix = ".state"

// stateFile is the file of a webhook.
func stateFile(dir, name string) string { return filepath.Join(dir, name+stateSuffix) }

// readState reads the state of a webhook; nil when there is none.
func readState(dir, name string) (*state, error) {
	b, err := os.ReadFile(stateFile(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(state)
	return s, json.Unmarshal(b, s)
}

// writeState replaces the state of a webhook, durably.
func writeState(dir, name string, s *state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.WriteFile(stateFile(dir, name), b, 0o600)
}

// saved is the window as it is kept.
func (w *window) saved() (all []waiting) {
	groups := map[*group]int{}
	for _, it := range w.items {
		if it.tells > 0 {
			continue // it is made anew
		}
		s := waiting{At: it.At, Attempts: it.attempts, Due: it.due}
		if it.group != nil && len(it.group.items) > 1 {
			if groups[it.group] == 0 {
				groups[it.group] = len(groups) + 1
			}
			s.Group = groups[it.group]
		}
		all = append(all, s)
	}
	return all
}

// restore reads the events of a window that was kept. missing are those that the log no longer has.
func (w *window) restore(log *eventlog.Log, all []waiting) (missing int, err error) {
	groups := map[int]*group{}
	for _, s := range all {
		events, _, _, err := log.Read(s.At)
		if err != nil {
			return missing, err
		}
		if len(events) == 0 || events[0].At != s.At {
			missing++
			continue
		}
		it := &item{Stored: events[0], attempts: s.Attempts, due: s.Due}
		if s.Group != 0 {
			if groups[s.Group] == nil {
				groups[s.Group] = &group{}
			}
			it.group = groups[s.Group]
			it.group.items = append(it.group.items, it)
		}
		w.items = append(w.items, it)
	}
	return missing, nil
}
