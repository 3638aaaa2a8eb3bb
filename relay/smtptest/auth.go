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
	case len(c.srv.opt.Users) == 0, !c.srv.offers("AUTH"), !slices.Contains(c.srv.opt.Mechanisms, mechanism):
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
	var user string
	var ok bool
	switch mechanism {
	case "PLAIN":
		user, ok = c.plain(initial)
	case "LOGIN":
		user, ok = c.login(initial)
	case "CRAM-MD5":
		user, ok = c.cramMD5()
	case "XOAUTH2":
		user, ok = c.xoauth2(initial)
	}
	if !ok {
		return "535 5.7.8 Authentication credentials invalid"
	}
	c.update(func(i *Session) { i.User = user })
	return "235 2.7.0 Authentication successful"
}

// plain is RFC 4616.
func (c *session) plain(initial string) (user string, ok bool) {
	response, ok := c.response(initial, "")
	parts := strings.Split(response, "\x00")
	if !ok || len(parts) != 3 {
		return "", false
	}
	return parts[1], c.password(parts[1], parts[2])
}

// login is the two-step mechanism that was never standardized.
func (c *session) login(initial string) (user string, ok bool) {
	user, ok = c.response(initial, "Username:")
	if !ok {
		return "", false
	}
	password, ok := c.response("", "Password:")
	return user, ok && c.password(user, password)
}

// cramMD5 is RFC 2195.
func (c *session) cramMD5() (user string, ok bool) {
	challenge := "<" + rand.Text() + "@" + c.srv.opt.Hostname + ">"
	response, ok := c.response("", challenge)
	user, digest, _ := strings.Cut(response, " ")
	password, known := c.srv.opt.Users[user]
	if !ok || !known {
		return "", false
	}
	mac := hmac.New(md5.New, []byte(password))
	mac.Write([]byte(challenge))
	return user, hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(digest))
}

// xoauth2 is the mechanism of Google and Microsoft. A refusal is explained in a challenge, which the client
// answers with an empty line.
func (c *session) xoauth2(initial string) (user string, ok bool) {
	response, ok := c.response(initial, "")
	if !ok {
		return "", false
	}
	var token string
	for field := range strings.SplitSeq(response, "\x01") {
		if v, is := strings.CutPrefix(field, "user="); is {
			user = v
		}
		if v, is := strings.CutPrefix(field, "auth=Bearer "); is {
			token = v
		}
	}
	if c.password(user, token) {
		return user, true
	}
	c.response("", `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`)
	return "", false
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

// password reports whether the credentials are right.
func (c *session) password(user, password string) bool {
	want, known := c.srv.opt.Users[user]
	return known && want == password
}
