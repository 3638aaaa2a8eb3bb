package events

import (
	"regexp"
	"strings"
	"time"

	"mailwhy/relay/smtptest"
)

// codes is what asks for a reply by its codes.
var codes = regexp.MustCompile(`^([45][0-9][0-9])(?:-([245]\.[0-9]{1,3}\.[0-9]{1,3}))?$`)

// Asked is the event that a recipient's address asks for, about mail that was accepted for it:
//
//	late-550-5.1.1@any.test         its server refused it with that reply
//	late-unknown@any.test           its server refused it with the reply of a named case of practice
//	late-delay-452-4.2.2@any.test   its server refused it for now, and the provider goes on trying
//	delivered@any.test              its server took it
//	dropped@any.test                the provider did not try
//	complaint@any.test              the recipient calls it spam
//
// Tags after a plus sign make addresses differ.
func Asked(from, to string, now time.Time) (Event, bool) {
	e := Event{Recipient: to, Host: "mx.practice.test", Time: now}
	local, domain, _ := strings.Cut(to, "@")
	if domain != "" {
		e.Host = "mx." + domain
	}
	local, _, _ = strings.Cut(strings.ToLower(local), "+")
	switch local {
	case "delivered":
		e.Kind, e.Reply = Delivered, "250 2.0.0 Practice reply"
		return e, true
	case "dropped":
		e.Kind = Dropped
		return e, true
	case "complaint":
		e.Kind = Complained
		return e, true
	}
	e.Kind = Bounced
	asked, ok := strings.CutPrefix(local, "late-")
	if !ok {
		return e, false
	}
	if rest, ok := strings.CutPrefix(asked, "delay-"); ok {
		e.Kind, asked = Retrying, rest
	}
	e.Reply, ok = reply(asked, from, to)
	return e, ok
}

// reply is the one that a part of an address asks for.
func reply(asked, from, to string) (string, bool) {
	if m := codes.FindStringSubmatch(asked); m != nil {
		return strings.TrimSpace(m[1]+" "+m[2]) + " Practice reply", true
	}
	_, domain, _ := strings.Cut(from, "@")
	for _, c := range smtptest.Cases() {
		if c.Name == asked && c.Reply != "" {
			return strings.NewReplacer("{to}", to, "{from}", from, "{domain}", domain).Replace(c.Reply), true
		}
	}
	return "", false
}
