package diagnose

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxLinks bounds the links of one diagnosis.
const maxLinks = 6

// maxNamed bounds what is copied out of a reply.
const maxNamed = 255

// addFacts takes from the text what it says itself: who replies, which list, how long to wait, which size,
// whose domain.
func (e *Engine) addFacts(s *Symptom, d *Diagnosis, f *finding, r *row, text string) {
	if d.Provider == "" {
		d.Provider = e.providerOf(s, f)
	}
	d.IP = namedIP(r.words)
	if d.Reason == noRefusal {
		return
	}
	d.RetryAfter = Seconds(retryAfter(r.words))
	if d.RetryAfter == 0 && !s.Facts.Now.IsZero() {
		d.RetryAfter = Seconds(until(text, s.Facts.Now))
	}
	d.Domain = e.namedDomain(r.words)
	if d.Reason == tooLarge {
		d.SizeLimit = sizeLimit(r.words)
		size := s.Facts.Size
		if d.SizeLimit == 0 && (size <= 0 || size > s.Facts.UpstreamSize) { // else another limit was applied
			d.SizeLimit = s.Facts.UpstreamSize
		}
	}
	if f.blocklist >= 0 && d.Category == SenderReputation {
		d.Blocklist = e.blocklist(f.blocklist, d)
		d.Links = appendLinks(d.Links, d.Blocklist.Lookup, d.Blocklist.Removal)
	}
}

// providerOf names who replied: by the wording first, by the host that was contacted second.
func (e *Engine) providerOf(s *Symptom, f *finding) string {
	if f.provider >= 0 {
		return e.providers[f.provider].ID
	}
	host := strings.ToLower(strings.TrimSuffix(s.Upstream, "."))
	if host == "" {
		return ""
	}
	for i := range e.providers {
		for _, h := range e.providers[i].Hosts {
			if host == h || strings.HasSuffix(host, "."+h) {
				return e.providers[i].ID
			}
		}
	}
	return ""
}

// blocklist fills in the address or domain that the list is to be asked about.
func (e *Engine) blocklist(i int, d *Diagnosis) *Blocklist {
	b := e.blocklists[i]
	fill := func(s string) string {
		if strings.Contains(s, "{ip}") && d.IP == "" || strings.Contains(s, "{domain}") && d.Domain == "" {
			return s[:strings.LastIndexAny(s[:strings.IndexByte(s, '{')], "/?")]
		}
		return strings.NewReplacer("{ip}", d.IP, "{domain}", d.Domain).Replace(s)
	}
	return &Blocklist{Name: b.Name, Lookup: fill(b.Lookup), Removal: fill(b.Removal)}
}

// appendLinks adds links that are not there yet.
func appendLinks(links []string, more ...string) []string {
	for _, l := range more {
		if l != "" && len(links) < maxLinks && !slices.Contains(links, l) {
			links = append(links, l)
		}
	}
	return links
}

// namedIP is the first address that the text names outside of a web address, else inside of one.
func namedIP(words []word) string {
	inURL := ""
	for _, w := range words {
		if w.kind != ipWord || strings.HasPrefix(w.text, "127.") {
			continue
		}
		if !w.url {
			return bounded(w.text)
		}
		if inURL == "" {
			inURL = w.text
		}
	}
	return bounded(inURL)
}

func bounded(s string) string {
	if len(s) > maxNamed {
		return ""
	}
	return s
}

// namedDomain is the domain that the text blames: the host after "domain", "domain of", "for" or "from".
func (e *Engine) namedDomain(words []word) string {
	for i, w := range words {
		if w.kind == addressWord && i > 0 && blames(words, i) {
			return bounded(w.text[strings.LastIndexByte(w.text, '@')+1:])
		}
		if w.kind != hostWord || w.url {
			continue
		}
		if i > 0 && blames(words, i) || i+1 < len(words) && words[i+1].text == "domain" {
			return bounded(w.text)
		}
	}
	return ""
}

// blames reports whether the words in front of i introduce the domain that is at fault.
func blames(words []word, i int) bool {
	prev := words[i-1].text
	if prev == "of" && i > 1 {
		prev = words[i-2].text
	}
	switch prev {
	case "domain", "domaine", "dominio", "from", "for", "sender", "mailfrom", "name", "to":
		return prev != "from" || i < 2 || words[i-2].text != "response"
	}
	return false
}

// retryAfter reads "in 5 minutes", "after 300 seconds", "wait 1 hour" or "00:05:00"; zero when there is no
// such time.
func retryAfter(words []word) time.Duration {
	for i, w := range words {
		if w.url || i == 0 || !digit(w.text[0]) || !waits(words, i) {
			continue
		}
		n, unit := w.text, ""
		if w.kind == plainWord {
			n, unit = splitUnit(w.text)
		} else if w.kind == numberWord && i+1 < len(words) {
			unit = words[i+1].text
		}
		v, err := strconv.Atoi(n)
		if err == nil && v == 0 && len(n) == 2 && isClock(words[i:]) {
			return clock(words[i : i+3])
		}
		per := unitOf(unit)
		if err != nil || per == 0 || v <= 0 || v > 1e6 {
			continue
		}
		if d := time.Duration(v) * per; d <= longestNamed {
			return d
		}
	}
	return 0
}

// waits reports whether the words in front of i ask to come back later.
func waits(words []word, i int) bool {
	for k := i - 1; k >= 0 && k >= i-4; k-- {
		switch words[k].text {
		case "in", "after", "wait", "within", "retry", "least", "dans", "nach", "tras", "later", "greylisted",
			"another":
			return asksAgain(words, k)
		}
	}
	return false
}

// asksAgain leaves out durations that are about the past ("timed out after 300 seconds").
func asksAgain(words []word, k int) bool {
	for j := max(0, k-14); j < min(len(words), k+14); j++ {
		switch words[j].text {
		case "try", "retry", "again", "wait", "later", "greylisted", "greylist", "graylisted", "graylist",
			"greylisting", "resend", "reconnect", "back", "reessayer", "erneut", "intente", "delayed":
			return true
		}
	}
	return false
}

// isClock reports whether words begin with three numbers.
func isClock(words []word) bool {
	return len(words) > 2 && words[1].kind == numberWord && words[2].kind == numberWord
}

// clock reads hours, minutes and seconds.
func clock(words []word) time.Duration {
	var d time.Duration
	for _, w := range words {
		v, err := strconv.Atoi(w.text)
		if err != nil || v > 99 {
			return 0
		}
		d = d*60 + time.Duration(v)
	}
	return d * time.Second
}

// longestNamed bounds the delay that a reply may name.
const longestNamed = 7 * 24 * time.Hour

// until reads "try again after Wed, 22 Feb 2023 10:04:01 UTC" and "retry at 2023-02-22 10:04:01 UTC"; zero
// when the text names no time to come.
func until(text string, now time.Time) time.Duration {
	end := max(strings.LastIndex(text, " UTC"), strings.LastIndex(text, " GMT"))
	if end < 0 || !strings.Contains(strings.ToLower(text[:end]), "again") &&
		!strings.Contains(strings.ToLower(text[:end]), "retry") {
		return 0
	}
	words := strings.Fields(strings.TrimSuffix(text[max(0, end-40):end], " +0000"))
	for _, layout := range []string{"2 Jan 2006 15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		n := len(words) - len(strings.Fields(layout))
		if n < 0 {
			continue
		}
		at, err := time.Parse(layout, strings.Join(words[n:], " "))
		if d := at.Sub(now).Round(time.Second); err == nil && d > 0 && d <= longestNamed {
			return d
		}
	}
	return 0
}

// splitUnit splits "300s".
func splitUnit(s string) (n, unit string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func unitOf(s string) time.Duration {
	switch s {
	case "s", "sec", "secs", "second", "seconds", "seconde", "secondes", "sekunden", "segundos", "secondi",
		"seconden":
		return time.Second
	case "m", "min", "mins", "minute", "minutes", "minuten", "minutos", "minuti":
		return time.Minute
	case "h", "hr", "hrs", "hour", "hours", "heure", "heures", "stunde", "stunden", "hora", "horas", "ora",
		"ore", "uur":
		return time.Hour
	case "day", "days", "jour", "jours", "tag", "tage", "dia", "dias":
		return 24 * time.Hour
	}
	return 0
}

// sizeLimit reads the limit that the text names, in bytes; zero when it names none.
func sizeLimit(words []word) int64 {
	var found int64
	for i, w := range words {
		if w.url || i == 0 {
			continue
		}
		n, ok := sizeOf(words, i)
		if !ok {
			continue
		}
		if limits(words, i) {
			return n
		}
		if found == 0 && n >= 1000 {
			found = n
		}
	}
	if found > 0 && mentions(words, "limit", "maximum", "max", "exceeds") {
		return found
	}
	return 0
}

// sizeOf reads a number with its unit at i.
func sizeOf(words []word, i int) (int64, bool) {
	w := words[i]
	n, unit := w.text, ""
	switch w.kind {
	case plainWord:
		n, unit = splitUnit(w.text)
	case numberWord:
		if i+1 < len(words) {
			unit = words[i+1].text
		}
	default:
		return 0, false
	}
	v, err := strconv.ParseFloat(n, 64)
	if err != nil || v <= 0 {
		return 0, false
	}
	factor := bytesOf(unit)
	if factor == 0 && v < 1000 {
		return 0, false
	}
	if v *= max(factor, 1); v > math.MaxInt64/4 {
		return 0, false
	}
	return int64(v), true
}

// bytesOf is how many bytes a unit of size has; zero when there is none of this name.
func bytesOf(unit string) float64 {
	switch unit {
	case "byte", "bytes", "octets":
		return 1
	case "k", "kb", "kib":
		return 1 << 10
	case "m", "mb", "mib", "meg", "megabytes":
		return 1 << 20
	case "gb":
		return 1 << 30
	}
	return 0
}

// limits reports whether the number at i is introduced as a limit.
func limits(words []word, i int) bool {
	for k := i - 1; k >= 0 && k >= i-4; k-- {
		switch words[k].text {
		case "limit", "maximum", "max", "exceed", "exceeds", "exceeded", "over", "than", "allowed":
			return true
		case "size":
			if isMaximum(words[:k]) {
				return true
			}
		}
	}
	return false
}

// isMaximum reports whether words end in "max" or "maximum message".
func isMaximum(words []word) bool {
	n := len(words)
	return n > 0 && words[n-1].text == "max" ||
		n > 1 && words[n-1].text == "message" && words[n-2].text == "maximum"
}

func mentions(words []word, any ...string) bool {
	return slices.ContainsFunc(words, func(w word) bool { return slices.Contains(any, w.text) })
}
