package smtptest

import (
	"slices"
	"strconv"
	"strings"

	"mailwhy/diagnose"
)

// mail answers MAIL (RFC 5321, 4.1.1.2).
func (c *session) mail(line, arg string) {
	address, params, ok := path(arg, "FROM:")
	cmd := c.command(diagnose.StageMail, line)
	cmd.Message, cmd.Address, cmd.Params = c.n+1, address, params
	code := c.answer(cmd, c.judgeMail(address, params, ok))
	if code/100 == 2 {
		c.tx = c.begin(address, params)
	}
	c.countRefusal(code)
}

// judgeMail is the server's own answer to MAIL.
func (c *session) judgeMail(address, params string, ok bool) string {
	o := &c.srv.opt
	switch {
	case c.info.Hello == "":
		return "503 5.5.1 EHLO comes first"
	case o.RequireTLS && c.info.TLS == "":
		return "530 5.7.0 Must issue a STARTTLS command first" // RFC 3207, 4
	case o.RequireAuth && c.info.User == "":
		return "530 5.7.0 Authentication required" // RFC 4954, 6
	case c.tx != nil:
		return "503 5.5.1 Nested MAIL command"
	case !ok:
		return "501 5.5.4 Syntax: MAIL FROM:<address>"
	}
	if bad := c.unknownParameter(params, mailParameters); bad != "" {
		return "555 5.5.4 Parameter not recognized: " + bad // RFC 5321, 4.1.1.11
	}
	if !ascii(address) && !hasParameter(params, "SMTPUTF8") {
		return "553 5.6.7 The address needs SMTPUTF8" // RFC 6531, 3.5
	}
	if o.SizeLimit > 0 && declaredSize(params) > o.SizeLimit {
		return "552 5.3.4 Message size exceeds the limit" // RFC 1870, 6.1
	}
	return "250 2.1.0 Sender ok"
}

// rcpt answers RCPT (RFC 5321, 4.1.1.3).
func (c *session) rcpt(line, arg string) {
	address, params, ok := path(arg, "TO:")
	cmd := c.command(diagnose.StageRcpt, line)
	cmd.Address, cmd.Params = address, params
	code := c.answer(cmd, c.judgeRcpt(address, params, ok))
	if code/100 == 2 {
		if c.tx == nil { // the script insists
			c.tx = c.begin("", "")
		}
		c.tx.To = append(c.tx.To, Recipient{Address: address, Params: params})
	}
	c.countRefusal(code)
}

// judgeRcpt is the server's own answer to RCPT.
func (c *session) judgeRcpt(address, params string, ok bool) string {
	switch {
	case c.tx == nil:
		return "503 5.5.1 MAIL comes first"
	case !ok || address == "":
		return "501 5.5.4 Syntax: RCPT TO:<address>"
	}
	if bad := c.unknownParameter(params, rcptParameters); bad != "" {
		return "555 5.5.4 Parameter not recognized: " + bad
	}
	if !ascii(address) && !hasParameter(c.tx.FromParams, "SMTPUTF8") {
		return "553 5.6.7 The address needs SMTPUTF8"
	}
	return "250 2.1.5 Recipient ok"
}

// mailParameters names the EHLO keyword that offers a parameter of MAIL: RFC 1870, RFC 6152, RFC 6531, RFC
// 3461 and RFC 4954, 5.
func mailParameters(name string) (keyword string) {
	switch name {
	case "SIZE", "SMTPUTF8", "AUTH":
		return name
	case "BODY":
		return "8BITMIME"
	case "RET", "ENVID":
		return "DSN"
	}
	return ""
}

// rcptParameters names the EHLO keyword that offers a parameter of RCPT: RFC 3461, 4.
func rcptParameters(name string) (keyword string) {
	if name == "NOTIFY" || name == "ORCPT" {
		return "DSN"
	}
	return ""
}

// unknownParameter is the first parameter that was not offered, or "".
func (c *session) unknownParameter(params string, keyword func(string) string) string {
	if params == "" {
		return ""
	}
	for p := range strings.FieldsSeq(params) {
		name, _, _ := strings.Cut(p, "=")
		k := keyword(strings.ToUpper(name))
		if k == "" || !c.srv.offers(k) || (k == "AUTH" && !c.srv.authenticates()) {
			return name
		}
	}
	return ""
}

// path splits "FROM:<address> params". It is strict: no space stands before the bracket.
func path(arg, prefix string) (address, params string, ok bool) {
	if len(arg) < len(prefix)+2 || !strings.EqualFold(arg[:len(prefix)], prefix) || arg[len(prefix)] != '<' {
		return "", "", false
	}
	rest := arg[len(prefix)+1:]
	end := closing(rest)
	if end < 0 {
		return "", "", false
	}
	address, params = rest[:end], rest[end+1:]
	if params != "" && params[0] != ' ' {
		return "", "", false
	}
	return address, strings.TrimSpace(params), true
}

// closing is the index of the bracket that ends a path; those in a quoted local part do not count.
func closing(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// hasParameter reports whether a parameter without a value is there.
func hasParameter(params, name string) bool {
	return slices.ContainsFunc(strings.Fields(params), func(p string) bool {
		return strings.EqualFold(p, name)
	})
}

// declaredSize is the value of SIZE, or 0.
func declaredSize(params string) int64 {
	for p := range strings.FieldsSeq(params) {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(name, "SIZE") {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

// ascii reports whether s is all ASCII.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
