package smtptest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"mailwhy/diagnose"
)

// auth answers AUTH (RFC 4954, 4). The Script is asked about the command line; where it leaves it to the
// server, the exchange follows.
func (c *session) auth(line, arg string) {
	a := c.ask(c.command(diagnose.StageAuth, line))
	if a.speaks() {
		if a.code("")/100 == 2 {
			c.update(func(i *Session) { i.User = "scripted" })
		}
		c.perform(a, "")
		return
	}
	mechanism, initial, _ := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	reply := ""
	switch {
	case !c.srv.authenticates(), !c.srv.offers("AUTH"), !slices.Contains(c.srv.opt.Mechanisms, mechanism):
		reply = "504 5.5.4 Mechanism not offered"
	case c.info.User != "":
		reply = "503 5.5.1 Already authenticated"
	case c.tx != nil:
		reply = "503 5.5.1 Not during a transaction"
	case c.srv.opt.RequireTLS && c.info.TLS == "":
		reply = "538 5.7.11 Encryption required for the requested mechanism"
	}
	if reply == "" {
		reply = c.exchange(mechanism, initial)
	}
	c.perform(a, reply)
}

// exchange carries out a mechanism and returns the reply that ends it.
func (c *session) exchange(mechanism, initial string) string {
	p := none()
	switch mechanism {
	case "PLAIN":
		p = c.plain(initial)
	case "LOGIN":
		p = c.login(initial)
	case "CRAM-MD5":
		p = c.cramMD5()
	case "XOAUTH2", "OAUTHBEARER":
		p = c.bearer(initial)
	}
	reply := c.verdict(mechanism, p)
	if !strings.HasPrefix(reply, "235") {
		if p.refusal != "" {
			c.response("", p.refusal)
		}
		return reply
	}
	c.update(func(i *Session) { i.User = p.user })
	return reply
}

// proof is what a client said in an exchange.
type proof struct {
	user    string
	matches func(secret string) bool
	decide  func() bool // in place of the secrets that the server knows; nil for these
	refusal string      // a challenge that explains a refusal before it
}

// none is the proof of a client that broke off or said what cannot be read.
func none() proof { return proof{matches: func(string) bool { return false }} }

// proofOf is the proof of a client that sent the secret itself.
func proofOf(user, secret string) proof {
	return proof{user: user, matches: func(want string) bool { return secret == want }}
}

// verdict is the reply to a proof.
func (c *session) verdict(mechanism string, p proof) string {
	if c.srv.opt.Login != nil {
		return c.srv.opt.Login(mechanism, p.user, p.matches)
	}
	want, known := c.srv.opt.Users[p.user]
	good := known && p.matches(want)
	if p.decide != nil {
		good = p.decide()
	}
	if !good {
		return "535 5.7.8 Authentication credentials invalid"
	}
	return "235 2.7.0 Authentication successful"
}

// plain is RFC 4616.
func (c *session) plain(initial string) proof {
	response, ok := c.response(initial, "")
	parts := strings.Split(response, "\x00")
	if !ok || len(parts) != 3 {
		return none()
	}
	return proofOf(parts[1], parts[2])
}

// login is the two-step mechanism that was never standardized.
func (c *session) login(initial string) proof {
	user, ok := c.response(initial, "Username:")
	if !ok {
		return none()
	}
	password, ok := c.response("", "Password:")
	if !ok {
		return none()
	}
	return proofOf(user, password)
}

// cramMD5 is RFC 2195.
func (c *session) cramMD5() proof {
	challenge := "<" + rand.Text() + "@" + c.srv.opt.Hostname + ">"
	response, ok := c.response("", challenge)
	user, digest, _ := strings.Cut(response, " ")
	if !ok {
		return none()
	}
	return proof{user: user, matches: func(password string) bool {
		mac := hmac.New(md5.New, []byte(password))
		mac.Write([]byte(challenge))
		return hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(digest))
	}}
}

// bearer is XOAUTH2, the mechanism of Google and Microsoft, and OAUTHBEARER (RFC 7628). Both name the user
// in the first field, and both explain a refusal in a challenge, whatever the client answers to it.
func (c *session) bearer(initial string) proof {
	response, ok := c.response(initial, "")
	if !ok {
		return none()
	}
	var user, token string
	for field := range strings.SplitSeq(response, "\x01") {
		if v, is := strings.CutPrefix(field, "user="); is { // XOAUTH2
			user = v
		}
		if v, is := strings.CutPrefix(field, "n,a="); is { // OAUTHBEARER: the header of RFC 5801, 4
			user = strings.TrimSuffix(v, ",")
		}
		if v, is := strings.CutPrefix(field, "auth=Bearer "); is {
			token = v
		}
	}
	p := proofOf(user, token)
	if tokens := c.srv.opt.Tokens; tokens != nil {
		p.decide = func() bool { return tokens(user, token) }
	}
	p.refusal = `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`
	return p
}

// response decodes the initial response, or asks for one with a challenge. "*" cancels (RFC 4954, 4).
func (c *session) response(initial, challenge string) (string, bool) {
	line := initial
	if line == "" {
		c.say("334 " + base64.StdEncoding.EncodeToString([]byte(challenge)))
		var ok bool
		if line, ok = c.readLine(); !ok {
			c.over = true
			return "", false
		}
	}
	if line == "=" { // RFC 4954, 4: an empty initial response
		return "", true
	}
	b, err := base64.StdEncoding.DecodeString(line)
	return string(b), err == nil
}
