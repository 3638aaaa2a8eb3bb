package diagnose

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

//go:embed guide.toml
var guideFile []byte

//go:embed rules.toml
var rulesFile []byte

//go:embed told.toml
var toldFile []byte

// CategoryInfo is what the guide says of a category, in our words.
type CategoryInfo struct {
	Name       Category `toml:"name" json:"name"`
	Definition string   `toml:"definition" json:"definition"`
	Cause      string   `toml:"cause" json:"cause"`
	Fix        []string `toml:"fix" json:"fix"`
	Reason     Reason   `toml:"reason" json:"reason"` // where only a bare code names the category
	Links      []string `toml:"links" json:"links,omitempty"`

	Confused []Category `toml:"confused" json:"-"` // what an unsure answer may be, the likeliest first
}

// ReasonInfo is the one definition of a reason.
type ReasonInfo struct {
	ID         Reason     `toml:"id" json:"id"`
	Category   Category   `toml:"category" json:"category"`
	Alt        []Category `toml:"alt" json:"alternatives,omitempty"`
	Definition string     `toml:"definition" json:"definition"`
	Cause      string     `toml:"cause" json:"cause"`
	Fix        []string   `toml:"fix" json:"fix"`
	FixFinal   []string   `toml:"fix_final" json:"fix_final,omitempty"` // after the last attempt
	Scope      Scope      `toml:"scope" json:"scope"`
	Owner      Owner      `toml:"owner" json:"owner"`
	Action     Action     `toml:"action" json:"action"`
	Server     bool       `toml:"server" json:"-"` // it is about the server that speaks, whoever that is
	Links      []string   `toml:"links" json:"links,omitempty"`
}

// steps are the steps to take, given whether the message is still tried.
func (r *ReasonInfo) steps(s *Symptom) []string {
	final := s.Final || s.Reply.Class() == 5 && r.Scope != ScopeUpstream // a 5yz about our account waits
	if final && len(r.FixFinal) > 0 {
		return slices.Clone(r.FixFinal)
	}
	return slices.Clone(r.Fix)
}

// Pair is a row of the guide's table: the categories that it files a (code, enhanced code) pair under.
type Pair struct {
	Code       int        `json:"code"`
	Enhanced   Enhanced   `json:"-"`
	Text       string     `json:"enhanced"`        // Enhanced in words, "" for a reply without one
	Categories []Category `json:"categories"`      // the guide's own first, then what its full table adds
	Added      []Category `json:"added,omitempty"` // those of Categories that only the full table names
	Reason     Reason     `json:"reason,omitempty"`
	row        string     // what Diagnosis.Rule calls it
}

// advice is what a provider's own page adds to a reason.
type advice struct {
	Reasons  []Reason `toml:"reasons"`
	Provider string   `toml:"provider"`
	Fix      []string `toml:"fix"`
	Links    []string `toml:"links"`
}

// provider is somebody whose replies can be recognised by their wording.
type provider struct {
	ID    string   `toml:"id"`
	Name  string   `toml:"name"`
	Match []string `toml:"match"`
	Hosts []string `toml:"hosts"` // domains of its servers
}

// providerCode is a code of a provider's own, and what it means.
type providerCode struct {
	Provider string   `toml:"provider"`
	Codes    []string `toml:"codes"` // phrases
	Reason   Reason   `toml:"reason"`
	Means    string   `toml:"means"` // the rest of a sentence that begins with "The code means that"
	Link     string   `toml:"link"`
	Example  string   `toml:"example"`
}

// id is that of the rule which stands for the code.
func (c *providerCode) id() string {
	return "code-" + c.Provider + "-" + strings.ReplaceAll(c.Codes[0], " ", "-")
}

// rule is the code as a rule.
func (c *providerCode) rule(from string) rule {
	return rule{ID: c.id(), Reason: c.Reason, Weight: certain, Any: c.Codes, Example: []string{c.Example},
		from: from}
}

// blocklistInfo is a list that replies name.
type blocklistInfo struct {
	ID      string   `toml:"id"`
	Name    string   `toml:"name"`
	Match   []string `toml:"match"`
	Lookup  string   `toml:"lookup"` // {ip} and {domain} stand for what the reply names
	Removal string   `toml:"removal"`
}

// rule is a wording and what it means.
type rule struct {
	ID         string     `toml:"id"`
	Reason     Reason     `toml:"reason"`
	Category   Category   `toml:"category"` // when it is not the reason's
	Alt        []Category `toml:"alt"`
	Weight     any        `toml:"weight"`   // the name of a band; any, so that a number gets a helpful error
	Beats      []string   `toml:"beats"`    // ids of rules that say nothing where this one holds
	Any        []string   `toml:"any"`      // one of these phrases must stand in the text
	All        []string   `toml:"all"`      // and every one of these
	None       []string   `toml:"none"`     // and none of these
	Code       []string   `toml:"code"`     // "550", "5xx"
	Enhanced   []string   `toml:"enhanced"` // "5.7.1", "x.7.x"
	Stage      []Stage    `toml:"stage"`
	When       string     `toml:"when"` // "reply" or "no_reply"
	Confidence Confidence `toml:"confidence"`
	Example    []string   `toml:"example"`
	Disabled   bool       `toml:"disabled"`
	from       string     // file it came from
}

// A band is how much a rule's wording weighs. The bands lie so far apart that a rule of a higher one wins,
// however long the phrase of the other.
const (
	vague   = "vague"   // a refusal without a reason: "rejected"
	hint    = "hint"    // a word that points at a cause
	normal  = "normal"  // a clear wording; the default
	strong  = "strong"  // a wording that names its cause exactly
	certain = "certain" // a wording that overrides everything beside it
)

// bandNames lists the bands for errors.
const bandNames = certain + ", " + strong + ", " + normal + ", " + hint + " or " + vague

// bandWeight is the weight of a band; ok is false where there is none of this name.
func bandWeight(band string) (weight float64, ok bool) {
	switch band {
	case vague:
		return vagueWeight, true
	case hint:
		return hintWeight, true
	case normal, "":
		return normalWeight, true
	case strong:
		return strongWeight, true
	case certain:
		return certainWeight, true
	}
	return 0, false
}

// codeRow says what an enhanced or basic code means on its own.
type codeRow struct {
	Code       string     `toml:"code"`
	Reason     Reason     `toml:"reason"`
	Category   Category   `toml:"category"`
	Alt        []Category `toml:"alt"`
	Confidence Confidence `toml:"confidence"`
	Address    bool       `toml:"address"` // it says that the address itself is at fault
	row        string     // what Diagnosis.Rule calls it
}

// file is the form of guide.toml, rules.toml, told.toml and a user's rules.
type file struct {
	Unread     []string            `toml:"unread"`       // pairs that say little beside unknown words
	UnreadCode []string            `toml:"unread_codes"` // pairs that beside unknown words lose to the code
	Categories []CategoryInfo      `toml:"category"`
	Reasons    []ReasonInfo        `toml:"reason"`
	Pairs      map[string][]string `toml:"pairs"`        // "550 5.2.2" -> categories, the guide's own first
	PairsAdded map[string][]string `toml:"pairs_added"`  // those of Pairs that are only in its full table
	PairReason map[string]Reason   `toml:"pair_reasons"` // "550 5.2.1" -> the reason that the guide names
	Enhanced   []codeRow           `toml:"enhanced"`
	Codes      []codeRow           `toml:"code"`
	Network    map[NetKind]Reason  `toml:"network"`
	Stages     map[Stage][]string  `toml:"stage"` // which category a stage prefers
	Words      map[string][]string `toml:"words"`
	Providers  []provider          `toml:"provider"`
	ProvCodes  []providerCode      `toml:"provider_code"`
	Blocklists []blocklistInfo     `toml:"blocklist"`
	Advice     []advice            `toml:"advice"`
	Rules      []rule              `toml:"rule"`
	Told       []told              `toml:"told"`
	Remote     map[Reason]Reason   `toml:"remote"`

	Boilerplate    []string `toml:"boilerplate"`     // what stands in front of the cause, or in its place
	Pointers       []string `toml:"pointers"`        // where the reader finds more
	RecipientWords []string `toml:"recipient_words"` // that name the recipient
	OtherWords     []string `toml:"other_words"`     // that name somebody or something else
	Doubts         []string `toml:"doubts"`          // beside which no address is given up

	KeepNow    []string `toml:"keep_now"`    // the fix of a temporary reply about an address
	KeepUnsure []string `toml:"keep_unsure"` // the fix where it is not certain that the address is at fault
}

// Options are the parts of an Engine that differ between installations.
type Options struct {
	Rules     []byte // a user's rules, TOML; nil for none
	RulesName string // what errors call them, the file's name
}

// parseFile reads one file of rules. Unknown keys and wrong types are errors that name the line.
func parseFile(name string, data []byte, f *file) error {
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(f)
	var strict *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case errors.As(err, &strict):
		errs := make([]error, 0, len(strict.Errors))
		for i := range strict.Errors {
			line, _ := strict.Errors[i].Position()
			key := strings.Join(strict.Errors[i].Key(), ".")
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %s", name, line, key))
		}
		return errors.Join(errs...)
	case errors.As(err, &bad):
		line, _ := bad.Position()
		return fmt.Errorf("%s:%d: %s", name, line, strings.TrimPrefix(bad.Error(), "toml: "))
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	for i := range f.Rules {
		f.Rules[i].from = name
	}
	for i := range f.ProvCodes {
		if len(f.ProvCodes[i].Codes) == 0 {
			return fmt.Errorf("%s: provider_code %d has no codes", name, i+1)
		}
		f.Rules = append(f.Rules, f.ProvCodes[i].rule(name))
	}
	return nil
}

// merge puts the user's file over ours: rules and reasons of the same id are replaced, new ones come first,
// so that they win where weights are equal. Its other tables extend ours.
func (f *file) merge(user *file) {
	for i := len(user.Rules) - 1; i >= 0; i-- {
		r := user.Rules[i]
		if at := slices.IndexFunc(f.Rules, func(o rule) bool { return o.ID == r.ID }); at >= 0 {
			f.Rules[at] = r
		} else {
			f.Rules = append([]rule{r}, f.Rules...)
		}
	}
	for _, r := range user.Reasons {
		if at := slices.IndexFunc(f.Reasons, func(o ReasonInfo) bool { return o.ID == r.ID }); at >= 0 {
			f.Reasons[at] = r
		} else {
			f.Reasons = append(f.Reasons, r)
		}
	}
	for k, v := range user.Words {
		f.Words[k] = append(slices.Clone(f.Words[k]), v...)
	}
	f.Enhanced = append(slices.Clone(user.Enhanced), f.Enhanced...)
	f.Codes = append(slices.Clone(user.Codes), f.Codes...)
	f.Advice = append(slices.Clone(user.Advice), f.Advice...)
	f.Providers = append(f.Providers, user.Providers...)
	f.ProvCodes = append(slices.Clone(user.ProvCodes), f.ProvCodes...)
	f.Blocklists = append(slices.Clone(user.Blocklists), f.Blocklists...)
	f.Told = append(slices.Clone(user.Told), f.Told...)
}

// lineOf finds the line of a rule in its file, for errors.
func lineOf(data []byte, id string) int {
	for i, line := range strings.Split(string(data), "\n") {
		key, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(key) == "id" && strings.Trim(strings.TrimSpace(value), `"'`) == id {
			return i + 1
		}
	}
	return 1
}

// pairKey writes a pair as the table's keys do.
func pairKey(code int, e Enhanced) string {
	if e.IsZero() {
		return strconv.Itoa(code)
	}
	return strconv.Itoa(code) + " " + e.String()
}
