package postgres

import (
	"context"
	"time"

	"mailwhy/relay/internal/postgres"
)

// Durability is whether what is acknowledged survives the loss of the server.
type Durability struct {
	At      time.Time // when this was looked at
	Problem string    // why a promotion or a crash could lose mail; "" if it could not
	Names   string    // synchronous_standby_names
	Standby int       // synchronous standbys that are connected
	Visible bool      // this role may see them
}

// Durability is what was found when it was last looked at: within the last minute or so.
func (s *Spool) Durability() Durability { return *s.durability.Load() }

// lookAtDurability looks whether there is a synchronous standby, and tells of a change for the worse.
func (s *Spool) lookAtDurability(ctx context.Context, c *postgres.Conn) error {
	is, err := c.Durability(ctx)
	if err != nil {
		return err
	}
	now := durabilityOf(is, s.o.Now())
	if was := s.durability.Swap(&now); now.Problem != "" && !s.o.Single && was != nil && was.Problem == "" {
		s.o.Log.Error("acknowledged mail could be lost", "why", now.Problem)
	}
	return nil
}

// durabilityOf is what was found at a time.
func durabilityOf(is postgres.Durability, at time.Time) Durability {
	return Durability{
		At: at, Problem: is.Problem(), Names: is.Names, Standby: is.Standbys, Visible: is.Visible,
	}
}
