// Package dmarc finds the DMARC record that applies to a domain (RFC 9989), and what aligns with it.
//
// The organizational domain is found by the tree walk of RFC 9989, 4.10. Receivers that still follow RFC 7489
// use the public suffix list; where no record is found at all, so does this package, because that is where
// the first record belongs. Alignment is told by both, and a difference is worth a warning.
package dmarc

import (
	"fmt"
	"slices"
	"strings"
)

// version begins each record; it is case sensitive (RFC 9989, 4.7).
const version = "v=DMARC1"

// Record is a DMARC record with the defaults filled in.
type Record struct {
	Domain     string // where it is published, without _dmarc
	Text       string
	P          string // none quarantine reject; "" if it is missing or wrong
	SP, NP     string // for subdomains, and for those that do not exist; "" when not given
	StrictDKIM bool   // adkim=s
	StrictSPF  bool   // aspf=s
	PSD        string // y n u
	Testing    bool   // t=y
	RUA        []string
	Wrong      []string // what receivers ignore or misread, a sentence each
	Unwise     []string // what works today, a sentence each
}

// isRecord reports whether a TXT record begins with the version.
func isRecord(txt string) bool {
	first, _, _ := strings.Cut(txt, ";")
	name, value, _ := strings.Cut(first, "=")
	return strings.TrimRight(name, " \t") == "v" && strings.TrimSpace(value) == "DMARC1"
}

// parse reads a record. Wrong values count as not given (RFC 9989, 4.7), so it always succeeds.
func parse(domain, txt string) *Record {
	r := &Record{Domain: domain, Text: txt, PSD: "u"}
	seen := []string{}
	for part := range strings.SplitSeq(txt, ";") {
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case strings.TrimSpace(part) == "":
			continue
		case !ok:
			r.wrong("%q is not tag=value", strings.TrimSpace(part))
		case slices.Contains(seen, name):
			r.wrong("%s= is there twice", name)
		default:
			r.tag(name, value)
		}
		seen = append(seen, name)
	}
	r.policy()
	return r
}

// tag reads one tag (RFC 9989, 4.7). Unknown ones are ignored.
func (r *Record) tag(name, value string) {
	lower := strings.ToLower(value)
	switch name {
	case "p":
		r.P = r.oneOf(name, lower, "none", "quarantine", "reject")
	case "sp":
		r.SP = r.oneOf(name, lower, "none", "quarantine", "reject")
	case "np":
		r.NP = r.oneOf(name, lower, "none", "quarantine", "reject")
	case "adkim":
		r.StrictDKIM = r.oneOf(name, lower, "r", "s") == "s"
	case "aspf":
		r.StrictSPF = r.oneOf(name, lower, "r", "s") == "s"
	case "psd":
		if v := r.oneOf(name, lower, "y", "n", "u"); v != "" {
			r.PSD = v
		}
	case "t":
		if r.Testing = r.oneOf(name, lower, "y", "n") == "y"; r.Testing {
			r.unwise("t=y: receivers apply the policy one step weaker")
		}
	case "rua":
		r.addresses(value)
	case "pct", "rf", "ri":
		r.unwise("%s= is obsolete and ignored", name) // RFC 9989, C.5
	}
}

// oneOf is the value if it is one of the words, else "".
func (r *Record) oneOf(name, value string, words ...string) string {
	if slices.Contains(words, value) {
		return value
	}
	r.wrong("%s=%s is not one of %s", name, value, strings.Join(words, ", "))
	return ""
}

// addresses reads the list of rua.
func (r *Record) addresses(list string) {
	for uri := range strings.SplitSeq(list, ",") {
		uri = strings.TrimSpace(uri)
		if len(uri) < 7 || !strings.EqualFold(uri[:7], "mailto:") || !strings.Contains(uri, "@") {
			r.wrong("rua: %q is not a mailto: address", uri)
			continue
		}
		address, _, _ := strings.Cut(uri[7:], "!") // a size limit, obsolete
		r.RUA = append(r.RUA, address)
	}
}

// policy says what the policy lacks. Without p= a record with rua counts as p=none, another as none at all
// (RFC 9989, 4.7).
func (r *Record) policy() {
	switch {
	case r.P == "" && len(r.RUA) == 0:
		r.wrong("there is no valid p=, so the record is ignored")
	case r.P == "":
		r.wrong("there is no valid p=, so it counts as p=none")
		r.P = "none"
	case r.P == "none":
		r.unwise("p=none asks receivers to do nothing about forged mail")
	}
}

// For is the policy for a domain that exists: sp= where the record is not the domain's own.
func (r *Record) For(domain string) string {
	if domain != r.Domain && r.SP != "" {
		return r.SP
	}
	return r.P
}

func (r *Record) wrong(format string, args ...any) {
	r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
}

func (r *Record) unwise(format string, args ...any) {
	r.Unwise = append(r.Unwise, fmt.Sprintf(format, args...))
}
