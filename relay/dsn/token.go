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

// MessageID is the Message-ID of the report with the queue id id: it carries a token that only the owner of key can
// make.
func MessageID(key []byte, id, hostname string) string {
	return "<" + id + "." + token(key, id) + "@" + hostname + ">"
}

// IsOwn reports whether a Message-ID is one that MessageID made with key, so that the message is a report of our own
// come back, and must not be reported on: a second report could start a loop. The host is not looked at.
func IsOwn(key []byte, messageID string) bool {
	local, _, ok := strings.Cut(strings.Trim(messageID, "<> \t"), "@")
	if !ok || len(key) == 0 {
		return false
	}
	id, tok, ok := strings.Cut(local, ".")
	id = strings.ToUpper(id)
	return ok && relay.ValidID(id) && hmac.Equal([]byte(strings.ToLower(tok)), []byte(token(key, id)))
}
