package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// specialise makes a diagnosis specific: the provider's own advice goes in front, the message's facts become evidence.
func (e *Engine) specialise(s *Symptom, d *Diagnosis) {
	for _, a := range e.advice[d.Reason] {
		if a.Provider != d.Provider {
			continue
		}
		d.Fix = append(slices.Clone(a.Fix), d.Fix...)
		d.Links = appendLinks(slices.Clone(a.Links), d.Links...)
		break
	}
	switch {
	case d.Category == DMARCErrors:
		d.Evidence = authenticationEvidence(&s.Facts, d)
	case d.Reason == tooLarge:
		d.Evidence = sizeEvidence(&s.Facts, d)
	case d.Category == InvalidAddress || d.Category == MailboxIssues:
		d.Evidence = addressEvidence(&s.Facts)
	case d.Category == RateLimitIssues && s.Facts.RecentRate > 0:
		d.Evidence = []string{fmt.Sprintf("In the last minute %.3g messages a second went to this upstream.", s.Facts.RecentRate)}
	}
	if d.Reason == "expired" && !s.Facts.FirstAttempt.IsZero() {
		d.Evidence = append(d.Evidence, "The first attempt was made at "+s.Facts.FirstAttempt.UTC().Format("2006-01-02 15:04:05 UTC")+".")
	}
}

// authenticationEvidence says whether DMARC could have passed: a domain must align with From (RFC 7489, 3.1).
func authenticationEvidence(f *Facts, d *Diagnosis) []string {
	if f.HeaderFrom == "" {
		return nil
	}
	var out []string
	from := strings.ToLower(f.HeaderFrom)
	switch env := strings.ToLower(f.EnvelopeFrom); {
	case env == "":
		out = append(out, fmt.Sprintf("From is %s and the envelope sender is empty, so SPF cannot align by it.", from))
	case aligned(env, from):
		out = append(out, fmt.Sprintf("From is %s and the envelope sender is %s: they align, so SPF would do if the sending host were listed.", from, env))
	default:
		out = append(out, fmt.Sprintf("From is %s but the envelope sender is %s: SPF cannot align.", from, env))
	}
	switch {
	case len(f.DKIMDomains) > 0 && slices.ContainsFunc(f.DKIMDomains, func(s string) bool { return aligned(strings.ToLower(s), from) }):
		out = append(out, fmt.Sprintf("A DKIM signature for %s is present: check that it verifies.", from))
	case len(f.DKIMDomains) > 0:
		out = append(out, fmt.Sprintf("The DKIM signatures present are for %s; none is for %s.", strings.Join(f.DKIMDomains[:min(3, len(f.DKIMDomains))], ", "), from))
	case f.Examined:
		out = append(out, fmt.Sprintf("There is no DKIM signature for %s.", from))
	}
	if d.Domain == "" {
		d.Domain = from
	}
	return out
}

// aligned reports relaxed alignment, as far as it can be told without the public suffix list: one domain is the other
// or lies below it, or both lie below a common domain of at least two labels that is no mere suffix such as co.uk.
func aligned(a, b string) bool {
	if a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a) {
		return true
	}
	return organisation(a) == organisation(b)
}

// organisation guesses the organisational domain: two labels, three below a country's own second level.
func organisation(d string) string {
	labels := strings.Split(d, ".")
	n := 2
	if len(labels) >= 3 && len(labels[len(labels)-1]) == 2 {
		switch labels[len(labels)-2] {
		case "co", "com", "org", "net", "ac", "gov", "edu", "or", "ne", "go", "ad", "gob", "nom":
			n = 3
		}
	}
	return strings.Join(labels[max(0, len(labels)-n):], ".")
}

// sizeEvidence names the sizes that are known. Where the message keeps to the limit that is known, another one made the
// server refuse it.
func sizeEvidence(f *Facts, d *Diagnosis) []string {
	limit := d.SizeLimit
	if limit == 0 {
		limit = f.UpstreamSize
	}
	switch {
	case f.Size <= 0:
		return nil
	case limit == 0:
		return []string{fmt.Sprintf("The message has %d bytes.", f.Size)}
	case f.Size <= limit:
		return []string{fmt.Sprintf("The message has %d bytes and keeps to the limit of %d that is known: another limit was applied, such as the recipient's own or one for headers or attachments.", f.Size, limit)}
	}
	return []string{fmt.Sprintf("The message has %d bytes, the limit is %d.", f.Size, limit)}
}

// addressEvidence points at a likely slip of the pen in the recipient's domain.
func addressEvidence(f *Facts) []string {
	at := strings.LastIndexByte(f.Recipient, '@')
	if at < 1 {
		return nil
	}
	if guess := Typo(f.Recipient[at+1:]); guess != "" {
		return []string{fmt.Sprintf("The address ends in %s; %s may be meant.", strings.ToLower(f.Recipient[at+1:]), guess)}
	}
	return nil
}

// largeProviders are domains that people mistype.
func largeProviders() []string {
	return []string{"gmail.com", "googlemail.com", "yahoo.com", "ymail.com", "hotmail.com", "outlook.com", "live.com", "msn.com", "icloud.com",
		"me.com", "aol.com", "comcast.net", "verizon.net", "att.net", "proton.me", "protonmail.com", "gmx.de", "gmx.net", "web.de",
		"t-online.de", "orange.fr", "wanadoo.fr", "free.fr", "laposte.net", "libero.it", "yandex.ru", "mail.ru", "qq.com", "163.com",
		"naver.com", "docomo.ne.jp", "btinternet.com", "yahoo.co.uk", "hotmail.co.uk", "hotmail.fr", "yahoo.fr"}
}

// Typo guesses the large provider that a mistyped domain was meant for; "" when there is none. A domain at one edit
// (two for long names) from exactly one provider, and no provider itself, counts as mistyped.
func Typo(domain string) string {
	domain = strings.ToLower(domain)
	known := largeProviders()
	if domain == "" || len(domain) > 40 || slices.Contains(known, domain) {
		return ""
	}
	best, guess := 3, ""
	for _, k := range known {
		if domain[0] != k[0] {
			continue // few mistake the first letter
		}
		limit := 1
		if len(k) >= 9 {
			limit = 2
		}
		if n := edits(domain, k); n <= limit && n < best {
			best, guess = n, k
		}
	}
	if slices.Contains([]string{"mail.com", "email.com", "gmx.com", "gmx.at", "gmx.ch", "live.fr", "live.de", "ymail.co", "web.com", "fee.fr", "live.co", "msn.de", "att.com", "me.net", "gmail.ru", "mail.de", "aim.com", "hotmail.de", "hotmail.it", "hotmail.es", "yahoo.de", "yahoo.it", "yahoo.es", "yahoo.ca"}, domain) {
		return ""
	}
	return guess
}
