package dsn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"mailwhy/relay"
)

// tokenEncoding survives systems that fold the case of a Message-ID.
var tokenEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// token signs a report's queue id.
func token(key []byte, id string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("dsn " + id))
	return tokenEncoding.EncodeToString(mac.Sum(nil)[:15])
}

// MessageID is the Message-ID of the report with the queue id id: it carries a token that only the owner of
// key can make.
func MessageID(key []byte, id, hostname string) string {
	return "<" + id + "." + token(key, id) + "@" + hostname + ">"
}

// IsOwn reports whether m, which has just come in, is a report of our own come back: it must not be
// reported on, since a second report could start a loop. Its Message-ID alone does not say so, since
// anybody who got a report can use that again: it must also have the sender of a report, which is the null
// sender (RFC 3461, 6.1) or fallback, if that is not empty, and the content type of one.
func IsOwn(key []byte, m *relay.Message, fallback string) bool {
	sender := m.Envelope.From == "" || fallback != "" && strings.EqualFold(m.Envelope.From, fallback)
	return sender && m.StatusReport && OwnID(key, m.MessageID)
}

// OwnID reports whether a Message-ID is one that MessageID made with key. The host is not looked at.
func OwnID(key []byte, messageID string) bool {
	local, _, ok := strings.Cut(strings.Trim(messageID, "<> \t"), "@")
	if !ok || len(key) == 0 {
		return false
	}
	id, tok, ok := strings.Cut(local, ".")
	id = strings.ToUpper(id)
	return ok && relay.ValidID(id) && hmac.Equal([]byte(strings.ToLower(tok)), []byte(token(key, id)))
}
