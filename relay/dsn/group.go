package dsn

import "mailwhy/relay"

// A group of more than largeGroup recipients is reported in brief: its addresses come last in part 1, and in
// part 2 the diagnosis stands in the block of the first alone. Beyond hugeGroup so do Remote-MTA and
// Diagnostic-Code, which RFC 3461, 6.3 (h) and (i) wants for each: complete blocks for a thousand
// recipients make a megabyte, which nobody reads and many servers refuse; this makes some 130 KB.
const (
	largeGroup = 10
	hugeGroup  = 100
)

// groups are the recipients of a report, together where the same is to be said of them.
type groups struct {
	all []*recipients
	of  map[int]*recipients // by index into Message.Recipients
}

// recipients are those of one group: indexes into Message.Recipients.
type recipients struct{ members []int }

func (g *recipients) first() int { return g.members[0] }

func (g *recipients) large() bool { return len(g.members) > largeGroup }

// detailOf is how much is said of member i.
func (g *recipients) detailOf(i int) detail {
	switch {
	case !g.large() || i == g.first():
		return inFull
	case len(g.members) > hugeGroup:
		return inBrief
	}
	return standard
}

// detail is how much the block of a recipient says.
type detail int

const (
	inBrief  detail = iota // what RFC 3464 wants of every block
	standard               // all of its fields
	inFull                 // the diagnosis too
)

// group puts the recipients of a report together, in their order.
func group(r *relay.Report) *groups {
	out := &groups{of: make(map[int]*recipients, len(r.Recipients))}
	byKey := map[relay.SameFailure]*recipients{}
	for _, i := range r.Recipients {
		key := relay.SameFailureOf(&r.Message.Recipients[i])
		g := byKey[key]
		if g == nil {
			g = &recipients{}
			byKey[key] = g
			out.all = append(out.all, g)
		}
		g.members = append(g.members, i)
		out.of[i] = g
	}
	return out
}
