package diagnose

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// builtinRules is what errors call the rules that are built in.
const builtinRules = "built-in rules"

// Engine diagnoses. It is immutable and safe for concurrent use; a change of rules makes a new one.
type Engine struct {
	categories []CategoryInfo
	reasonList []ReasonInfo
	reasons    map[Reason]*ReasonInfo
	pairs      map[pair]*Pair
	pairList   []Pair
	unread     []string
	unreadCode []string
	keepNow    []string
	keepUnsure []string
	enhanced   map[Enhanced]*codeRow // class 0 stands for any class
	codes      map[int]*codeRow
	network    map[NetKind]Reason
	stages     map[Stage][]Category
	providers  []provider
	blocklists []blocklistInfo
	advice     map[Reason][]advice
	provCodes  map[string]*providerCode // by the id of the rule
	rules      []compiled
	told       []told
	remote     map[Reason]Reason
	x          *index
	rows       sync.Pool // of *row: memory of past searches, never their content
}

type pair struct {
	code     int
	enhanced Enhanced
}

// compiled is a rule made ready.
type compiled struct {
	rule
	category Category
	weight   float64
	own      bool        // it is a user's
	enhanced [][3]int    // -1 stands for any number
	beats    []*compiled // rules that say nothing where this one holds
}

// New makes an Engine from the built-in guide and rules, and a user's on top. An error names the file, the
// line and the rule; all of them are reported at once.
func New(opts Options) (*Engine, error) {
	f, err := load(opts)
	if err != nil {
		return nil, err
	}
	e := &Engine{categories: f.Categories, reasonList: f.Reasons, reasons: map[Reason]*ReasonInfo{},
		network: f.Network, unread: f.Unread, unreadCode: f.UnreadCode,
		keepNow: f.KeepNow, keepUnsure: f.KeepUnsure,
		providers: f.Providers, blocklists: f.Blocklists, advice: map[Reason][]advice{},
		provCodes: make(map[string]*providerCode, len(f.ProvCodes)),
		stages:    map[Stage][]Category{}, x: newIndex(f.Words), told: f.Told, remote: f.Remote}
	for i := range e.reasonList {
		e.reasons[e.reasonList[i].ID] = &e.reasonList[i]
	}
	for _, a := range f.Advice {
		for _, r := range a.Reasons {
			e.advice[r] = append(e.advice[r], a)
		}
	}
	for i := range f.ProvCodes {
		e.provCodes[f.ProvCodes[i].id()] = &f.ProvCodes[i]
	}
	for stage, names := range f.Stages {
		for _, n := range names {
			e.stages[stage] = append(e.stages[stage], Category(n))
		}
	}
	e.rows.New = func() any { return new(row) }
	if err := errors.Join(e.addPairs(f), e.addCodes(f), e.addPhrases(f)); err != nil {
		return nil, err
	}
	return e, nil
}

// load reads the built-in files and the user's, and checks them together.
func load(opts Options) (*file, error) {
	f := &file{}
	err := errors.Join(parseFile("guide.toml", guideFile, f), parseFile("told.toml", toldFile, f),
		parseFile(builtinRules, rulesFile, f))
	if err != nil {
		return nil, err
	}
	if opts.Rules != nil {
		user, err := loadUser(cmp.Or(opts.RulesName, "rules"), opts.Rules)
		if err != nil {
			return nil, err
		}
		f.merge(user)
	}
	if err := f.check(opts.Rules); err != nil {
		return nil, err
	}
	f.Rules = slices.DeleteFunc(f.Rules, func(r rule) bool { return r.Disabled })
	return f, nil
}

// loadUser reads a user's file, which errors call name.
func loadUser(name string, rules []byte) (*file, error) {
	user := &file{}
	if err := parseFile(name, rules, user); err != nil {
		return nil, err
	}
	if user.changesGuide() {
		return nil, fmt.Errorf(
			"%s: the guide's own tables (category, pairs, network, stage, remote) cannot be changed", name)
	}
	return user, user.checkIDs(name, rules)
}

// changesGuide reports whether a user's file holds what is the guide's own.
func (f *file) changesGuide() bool {
	return len(f.Categories) > 0 || f.Unread != nil || f.UnreadCode != nil || f.Boilerplate != nil ||
		f.Pointers != nil || f.RecipientWords != nil || f.OtherWords != nil || f.Doubts != nil ||
		f.KeepNow != nil || f.KeepUnsure != nil || f.Pairs != nil || f.PairsAdded != nil ||
		f.Network != nil || f.Stages != nil || f.Remote != nil
}

// addPairs fills the guide's table.
func (e *Engine) addPairs(f *file) error {
	e.pairs = make(map[pair]*Pair, len(f.Pairs))
	e.pairList = make([]Pair, 0, len(f.Pairs))
	for key, names := range f.Pairs {
		code, enhanced, _ := strings.Cut(key, " ")
		n, err := strconv.Atoi(code)
		en, ok := ParseEnhanced(enhanced)
		if err != nil || enhanced != "" && !ok {
			return fmt.Errorf("pair %q: not a code and an enhanced code", key)
		}
		p := Pair{Code: n, Enhanced: en, Text: enhanced, Reason: f.PairReason[key], row: "pair " + key}
		for _, name := range names {
			if !knownCategory(Category(name)) {
				return fmt.Errorf("pair %q: there is no category %q", key, name)
			}
			p.Categories = append(p.Categories, Category(name))
			if slices.Contains(f.PairsAdded[key], name) {
				p.Added = append(p.Added, Category(name))
			}
		}
		e.pairList = append(e.pairList, p)
	}
	slices.SortFunc(e.pairList, func(a, b Pair) int {
		x, y := a.Enhanced, b.Enhanced
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(x.Subject, y.Subject),
			cmp.Compare(x.Class, y.Class), cmp.Compare(x.Detail, y.Detail))
	})
	for i := range e.pairList {
		p := &e.pairList[i]
		e.pairs[pair{p.Code, p.Enhanced}] = p
	}
	return nil
}

// addCodes fills the tables of enhanced and basic codes; the first row of a code wins.
func (e *Engine) addCodes(f *file) error {
	e.enhanced, e.codes = map[Enhanced]*codeRow{}, map[int]*codeRow{}
	for i := range f.Enhanced {
		r := &f.Enhanced[i]
		p, err := enhancedPattern(r.Code)
		if err != nil {
			return err
		}
		key := Enhanced{max(p[0], 0), p[1], p[2]}
		if e.enhanced[key] == nil {
			r.row = "enhanced " + r.Code
			e.enhanced[key] = r
		}
	}
	for i := range f.Codes {
		r := &f.Codes[i]
		n, err := strconv.Atoi(r.Code)
		if err != nil {
			return fmt.Errorf("code %q: not a number", r.Code)
		}
		if e.codes[n] == nil {
			r.row = "code " + r.Code
			e.codes[n] = r
		}
	}
	return nil
}

// enhancedPattern reads "5.7.1" or "x.7.x".
func enhancedPattern(s string) (p [3]int, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return p, fmt.Errorf("enhanced code %q: not three numbers", s)
	}
	for i, t := range parts {
		if t == "x" {
			p[i] = -1
			continue
		}
		if p[i], err = strconv.Atoi(t); err != nil {
			return p, fmt.Errorf("enhanced code %q: not three numbers", s)
		}
	}
	return p, nil
}

// addPhrases puts the phrases of rules, providers and blocklists into one index.
func (e *Engine) addPhrases(f *file) error {
	var errs []error
	add := func(what string, phrases []string, owner int, r role) {
		for slot, text := range phrases {
			if err := e.x.add(text, phrase{owner: int32(owner), role: r, slot: int32(slot)}); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
			}
		}
	}
	written := 0
	for i := range f.Rules {
		written += len(f.Rules[i].Any) + len(f.Rules[i].All) + len(f.Rules[i].None)
	}
	e.x.phrases = make([]phrase, 0, written+written/8) // an optional word makes two phrases of one
	e.rules = make([]compiled, len(f.Rules))
	for i, r := range f.Rules {
		c := &e.rules[i]
		band, _ := r.Weight.(string)
		*c = compiled{rule: r, category: r.Category, own: r.from != builtinRules}
		c.weight, _ = bandWeight(band)
		if e.provCodes[r.ID] != nil {
			c.weight += codeLead
		}
		if info := e.reasons[r.Reason]; c.category == "" && info != nil {
			c.category = info.Category
		}
		for _, p := range r.Enhanced {
			pattern, err := enhancedPattern(p)
			errs = append(errs, err)
			c.enhanced = append(c.enhanced, pattern)
		}
		what := fmt.Sprintf("%s: rule %q", r.from, r.ID)
		add(what, r.Any, i, roleAny)
		add(what, r.All, i, roleAll)
		add(what, r.None, i, roleNone)
	}
	e.linkBeats()
	for i, p := range f.Providers {
		add("provider "+p.ID, p.Match, i, roleProvider)
	}
	for i, b := range f.Blocklists {
		add("blocklist "+b.ID, b.Match, i, roleBlocklist)
	}
	add("recipient words", f.RecipientWords, 0, roleRecipient)
	add("other words", f.OtherWords, 0, roleOther)
	add("doubts", f.Doubts, 0, roleDoubt)
	add("boilerplate", f.Boilerplate, 0, roleBoilerplate)
	add("pointers", f.Pointers, 0, rolePointer)
	return errors.Join(append(errs, e.x.finish())...)
}

// linkBeats finds the rules that each rule beats. Those that were switched off are not there.
func (e *Engine) linkBeats() {
	byID := make(map[string]*compiled, len(e.rules))
	for i := range e.rules {
		byID[e.rules[i].ID] = &e.rules[i]
	}
	for i := range e.rules {
		for _, id := range e.rules[i].Beats {
			if beaten := byID[id]; beaten != nil {
				e.rules[i].beats = append(e.rules[i].beats, beaten)
			}
		}
	}
}

// Categories gives the guide's categories in its order, and Connection Failure last.
func (e *Engine) Categories() []CategoryInfo { return slices.Clone(e.categories) }

// Reasons gives every reason with its definition.
func (e *Engine) Reasons() []ReasonInfo { return slices.Clone(e.reasonList) }

// Pairs gives the guide's table, ordered by code.
func (e *Engine) Pairs() []Pair { return slices.Clone(e.pairList) }

// Gloss says what a category means.
func (e *Engine) Gloss(c Category) (CategoryInfo, bool) {
	i := slices.IndexFunc(e.categories, func(i CategoryInfo) bool { return i.Name == c })
	if i < 0 {
		return CategoryInfo{}, false
	}
	return e.categories[i], true
}

// Explain says what a reason means.
func (e *Engine) Explain(r Reason) (ReasonInfo, bool) {
	info := e.reasons[r]
	if info == nil {
		return ReasonInfo{}, false
	}
	return *info, true
}

// Networks gives the reason of each kind of failure that comes without a reply.
func (e *Engine) Networks() map[NetKind]Reason { return maps.Clone(e.network) }
