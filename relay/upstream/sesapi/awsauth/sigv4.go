// Package awsauth signs requests to AWS with Signature Version 4 and gets the credentials for that: access
// keys as configured, a role by web identity (EKS), and the endpoints of containers (ECS, EKS Pod Identity)
// and instances (EC2).
//
// What always holds: nothing secret is in an error or a log; temporary credentials are replaced before their
// end, by one request at a time, while the old ones are still used (Cached); a token's file is read at each
// request, because it is replaced while we run.
package awsauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mailwhy/relay/upstream/oauth"
)

// Credentials are what requests are signed with.
type Credentials struct {
	AccessKeyID  string
	Secret       oauth.Secret
	SessionToken oauth.Secret // of temporary credentials
	Expires      time.Time    // zero: never
}

const algorithm = "AWS4-HMAC-SHA256"

// EmptyHash is the payload hash of a request without a body.
const EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Sign signs a request whose body has the SHA-256 payload, in hex. It sets X-Amz-Date, X-Amz-Security-Token
// and Authorization; no header that is signed may change after that.
func Sign(r *http.Request, payload string, c Credentials, region, service string, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", stamp)
	if !c.SessionToken.IsZero() {
		r.Header.Set("X-Amz-Security-Token", c.SessionToken.Reveal())
	}
	names, headers := canonicalHeaders(r)
	canonical := strings.Join([]string{r.Method, canonicalPath(r.URL), canonicalQuery(r.URL), headers, names,
		payload}, "\n")
	scope := strings.Join([]string{stamp[:8], region, service, "aws4_request"}, "/")
	hash := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{algorithm, stamp, scope, hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + c.Secret.Reveal())
	for _, part := range []string{stamp[:8], region, service, "aws4_request"} {
		key = mac(key, part)
	}
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKeyID+"/"+scope+
		", SignedHeaders="+names+", Signature="+hex.EncodeToString(mac(key, text)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonicalHeaders are the headers that are signed: the host, the type, and those of AWS.
func canonicalHeaders(r *http.Request) (names, lines string) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	values := map[string]string{"host": host}
	for name, all := range r.Header {
		name = strings.ToLower(name)
		if name == "content-type" || strings.HasPrefix(name, "x-amz-") {
			for i := range all {
				all[i] = strings.Join(strings.Fields(all[i]), " ")
			}
			values[name] = strings.Join(all, ",")
		}
	}
	sorted := make([]string, 0, len(values))
	for name := range values {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	var b strings.Builder
	for _, name := range sorted {
		b.WriteString(name + ":" + values[name] + "\n")
	}
	return strings.Join(sorted, ";"), b.String()
}

// canonicalPath is the path as sent, encoded once more, as every service but S3 wants it.
func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	return encode(path, "/")
}

// canonicalQuery is the query, sorted and encoded.
func canonicalQuery(u *url.URL) string {
	var pairs []string
	for name, values := range u.Query() {
		for _, v := range values {
			pairs = append(pairs, encode(name, "")+"="+encode(v, ""))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// encode encodes all but the unreserved characters (RFC 3986, 2.3) and those of keep.
func encode(s, keep string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(unreserved+keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
