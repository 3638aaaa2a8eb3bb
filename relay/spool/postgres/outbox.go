package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/internal/postgres"
	"mailwhy/relay/spool/postgres/database"
)

// claimBudget is how many bytes of recipients' states Claim reads at a time.
const claimBudget = 8 << 20

// Claim implements relay.Outbox.
func (s *Spool) Claim(ctx context.Context, q relay.ClaimQuery) ([]relay.Claim, time.Time, error) {
	if err := s.Admit(); err != nil {
		return nil, time.Time{}, err
	}
	inc, token := s.inc.Load(), 1+rand.Int64N(1<<62)
	var found *database.Claimed
	err := s.pool.with(ctx, func(c *postgres.Conn) (err error) {
		found, err = s.db.Claim(ctx, c, inc.id, token, q, claimBudget)
		return err
	})
	if err != nil {
		if errors.Is(err, postgres.ErrInDoubt) { // nobody else would have the entries until it lapses
			s.inDoubt(doubt{inc: inc, claim: token})
		}
		return nil, time.Time{}, unavailable(err)
	}
	var claims []relay.Claim
	for _, r := range found.Rows {
		c := relay.Claim{Token: claimToken(token, r.ID), Entries: found.Entries[r.ID]}
		if c.Message, err = r.Decode(); err != nil {
			s.o.Log.Error("a message is damaged; what is owed for it waits", "id", r.ID, "err", err)
			continue
		}
		for i := range c.Entries {
			c.Entries[i].Claim = c.Token
		}
		claims = append(claims, c)
	}
	return claims, timeOf(found.Next), nil
}

// claimToken is the token of a claim of a message; the number is as the table has it.
func claimToken(n int64, message string) relay.Token {
	return relay.Token("c" + strconv.FormatInt(n, 36) + "-" + message)
}

// parseClaim undoes claimToken: 0 for a token that was never given.
func parseClaim(t relay.Token) (n int64, message string) {
	number, message, ok := strings.Cut(strings.TrimPrefix(string(t), "c"), "-")
	n, err := strconv.ParseInt(number, 36, 64)
	if !ok || err != nil {
		return 0, ""
	}
	return n, message
}

// GiveBack implements relay.Outbox. What cannot be given back since the database is away is given back when
// it can be written again.
func (s *Spool) GiveBack(claims ...relay.Token) {
	var given []database.Given
	for _, t := range claims {
		if n, message := parseClaim(t); n != 0 {
			given = append(given, database.Given{Message: message, Token: n})
		}
	}
	if len(given) == 0 || s.giveBack(given) == nil {
		return
	}
	s.w.add(&operation{must: true, again: true, bytes: 64 * len(given), add: func(ch *database.Changes) {
		ch.GivenBack = append(ch.GivenBack, given...)
	}})
}

// giveBack gives claims back at once, or not at all.
func (s *Spool) giveBack(given []database.Given) error {
	if err := s.w.refuses(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.CommitTimeout)
	defer cancel()
	return s.pool.with(ctx, func(c *postgres.Conn) error { return s.db.GiveBack(ctx, c, given) })
}

// Consume implements relay.Outbox. Where messages answer the entries all of these must be there, or the
// messages known: else somebody has answered them in another way, and it returns ErrStaleLease.
func (s *Spool) Consume(ctx context.Context, a relay.Answer) error {
	if len(a.Messages) == 0 {
		return s.w.do(ctx, &operation{bytes: 64 * len(a.Entries), add: func(ch *database.Changes) {
			ch.Answers = append(ch.Answers, answering(a.Entries, nil))
		}})
	}
	p, err := s.receive(ctx, a.Messages, a.Content)
	if err != nil {
		return err
	}
	var ids []string
	for _, m := range a.Messages {
		ids = append(ids, m.ID)
	}
	answer := answering(a.Entries, ids)
	p.answers = &answer
	return s.store(ctx, p)
}

// answering is what is done about entries.
func answering(entries []relay.Entry, ids []string) database.Answer {
	a := database.Answer{Entries: entries, IDs: ids, Tokens: make([]int64, len(entries))}
	for i := range entries {
		a.Tokens[i], _ = parseClaim(entries[i].Claim)
	}
	return a
}

// Postpone implements relay.Outbox.
func (s *Spool) Postpone(ctx context.Context, entries []relay.Entry) error {
	check := answering(entries, nil)
	check.Keep = true
	err := s.w.do(ctx, &operation{bytes: 64 * len(entries), add: func(ch *database.Changes) {
		ch.Answers = append(ch.Answers, check)
		ch.Postponed = append(ch.Postponed, entries...)
	}})
	if err != nil && !errors.Is(err, relay.ErrStaleLease) {
		return unavailable(err)
	}
	return err
}
