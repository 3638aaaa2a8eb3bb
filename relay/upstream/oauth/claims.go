package oauth

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/internal/clean"
)

// Claims are what an access token says of itself. They are not verified: only its reader may rely on them.
type Claims struct {
	Audience string
	Roles    []string // what an application may do
	Scopes   []string // what it may do for a person
	User     string
	Expires  time.Time

	Application string // client id
	Tenant      string // id of the directory
}

// ReadClaims reads the claims of a token that is a JWT, as Microsoft's are; ok is false for any other.
func ReadClaims(token Secret) (c Claims, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return c, false
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, false
	}
	var j struct {
		Aud   string   `json:"aud"`
		Roles []string `json:"roles"`
		Scp   string   `json:"scp"`
		UPN   string   `json:"upn"`
		Name  string   `json:"preferred_username"`
		Exp   float64  `json:"exp"`
		AppID string   `json:"appid"`
		AZP   string   `json:"azp"` // of tokens of version 2, in place of appid
		TID   string   `json:"tid"`
	}
	if json.Unmarshal(body, &j) != nil {
		return c, false
	}
	c = Claims{Audience: clean.Line(j.Aud, 200), User: clean.Line(j.UPN, 200),
		Application: clean.Line(cmp.Or(j.AppID, j.AZP), 100), Tenant: clean.Line(j.TID, 100)}
	if c.User == "" {
		c.User = clean.Line(j.Name, 200)
	}
	for _, r := range j.Roles {
		c.Roles = append(c.Roles, clean.Line(r, 100))
	}
	for _, s := range strings.Fields(j.Scp) {
		c.Scopes = append(c.Scopes, clean.Line(s, 100))
	}
	if j.Exp > 0 {
		c.Expires = time.Unix(int64(j.Exp), 0).UTC()
	}
	return c, true
}

// exchangeOnline is the application id of Exchange Online, which some tokens have as their audience.
const exchangeOnline = "00000002-0000-0ff1-ce00-000000000000"

// ForExchange reports whether a token is for Exchange Online.
func (c *Claims) ForExchange() bool {
	return strings.Contains(c.Audience, "outlook") || c.Audience == exchangeOnline
}

// Lacks names the permission to send mail by SMTP that a token for Exchange Online lacks, or "". The
// permissions are named in roles for an application and in scp for a person. Of tokens for other servers
// nothing is known.
func (c *Claims) Lacks() string {
	app, person := "SMTP.SendAsApp", "SMTP.Send"
	switch {
	case !c.ForExchange():
		return ""
	case slices.Contains(c.Roles, app), slices.Contains(c.Scopes, person):
		return ""
	case len(c.Scopes) > 0:
		return person
	}
	return app
}
