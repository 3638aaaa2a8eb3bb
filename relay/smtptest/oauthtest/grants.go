package oauthtest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// token answers a request for a token.
func (s *Server) token(w http.ResponseWriter, form url.Values) {
	kind := form.Get("grant_type")
	if kind != "urn:ietf:params:oauth:grant-type:jwt-bearer" && !s.client(w, form) {
		return
	}
	switch kind {
	case "client_credentials":
		s.give(w, "")
	case "refresh_token":
		s.refreshed(w, form.Get("refresh_token"))
	case "authorization_code":
		s.code(w, form)
	case "urn:ietf:params:oauth:grant-type:device_code":
		s.polled(w, form.Get("device_code"))
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		s.service(w, form.Get("assertion"))
	default:
		refuse(w, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
	}
}

// client checks who the client is.
func (s *Server) client(w http.ResponseWriter, form url.Values) bool {
	assertion := form.Get("client_assertion")
	switch {
	case form.Get("client_id") != s.opt.ClientID:
		refuse(w, "unauthorized_client", 700016, "Application with identifier 'x' was not found in the "+
			"directory.")
	case s.opt.Secret == "" && s.opt.Key == nil && (form.Has("client_secret") || assertion != ""):
		refuse(w, "invalid_client", 700025, "Client is public so neither 'client_assertion' nor "+
			"'client_secret' should be presented.")
	case s.opt.Secret != "" && form.Get("client_secret") != s.opt.Secret:
		refuse(w, "invalid_client", 7000215, "Invalid client secret provided.")
	case s.opt.Key != nil && s.assertion(assertion, "PS256", form.Get("client_id")) != nil:
		refuse(w, "invalid_client", 700027, "Client assertion failed signature validation.")
	default:
		return true
	}
	return false
}

// give answers with a new access token, and a refresh token if it is not "".
func (s *Server) give(w http.ResponseWriter, refresh string) {
	access := s.secret("access")
	s.access[access] = true
	fields := map[string]any{"token_type": "Bearer", "access_token": access,
		"expires_in": int(s.opt.Life / time.Second)}
	if refresh != "" {
		fields["refresh_token"] = refresh
	}
	reply(w, fields)
}

func (s *Server) refreshed(w http.ResponseWriter, old string) {
	if !s.refresh[old] {
		refuse(w, "invalid_grant", 70000, "The provided value for the 'refresh_token' is not valid.")
		return
	}
	if !s.opt.Rotate {
		s.give(w, "")
		return
	}
	if s.opt.Once {
		delete(s.refresh, old)
	}
	s.give(w, s.newRefresh())
}

// code takes an authorization code, with its verifier (RFC 7636, 4.6).
func (s *Server) code(w http.ResponseWriter, form url.Values) {
	asked, known := s.codes[form.Get("code")]
	delete(s.codes, form.Get("code"))
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case !known, asked.Get("redirect_uri") != form.Get("redirect_uri"):
		refuse(w, "invalid_grant", 70008, "The provided authorization code is expired.")
	case asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]):
		refuse(w, "invalid_grant", 501481, "The Code_Verifier does not match the code_challenge.")
	default:
		s.give(w, s.newRefresh())
	}
}

func (s *Server) polled(w http.ResponseWriter, code string) {
	s.polls++
	switch _, known := s.codes[code]; {
	case !known:
		refuse(w, "bad_verification_code", 70018, "Bad verification code.")
	case s.polls <= s.opt.Pending:
		refuse(w, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending.")
	default:
		delete(s.codes, code)
		s.give(w, s.newRefresh())
	}
}

// service takes the assertion of a service account.
func (s *Server) service(w http.ResponseWriter, assertion string) {
	if err := s.assertion(assertion, "RS256", ""); err != nil {
		Google("invalid_grant", "Invalid JWT Signature.").write(context.Background(), w)
		return
	}
	s.give(w, "")
}

// assertion verifies a JWT: signature, times, audience, and that its id is new.
func (s *Server) assertion(jwt, alg, client string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || s.opt.Key == nil {
		return errors.New("no JWT")
	}
	var head struct{ Alg, Typ, Kid string }
	var body struct {
		Aud, Iss, Sub, Jti string
		Iat, Exp           int64
	}
	if decode(parts[0], &head) != nil || decode(parts[1], &body) != nil || head.Alg != alg {
		return errors.New("not a JWT of this kind")
	}
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	var err error
	if alg == "PS256" {
		err = rsa.VerifyPSS(s.opt.Key, crypto.SHA256, sum[:], sig,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		err = rsa.VerifyPKCS1v15(s.opt.Key, crypto.SHA256, sum[:], sig)
	}
	now := time.Now().Unix()
	life := body.Exp - body.Iat
	switch {
	case err != nil:
		return err
	case body.Aud != s.URL("/token"), body.Iat > now, body.Exp <= now, life > 3600:
		return errors.New("audience or times")
	case client != "" && (body.Iss != client || body.Sub != client || life < 300 || life > 600):
		return errors.New("issuer, subject or life")
	case client != "" && (body.Jti == "" || s.jtis[body.Jti]):
		return errors.New("the id is not new")
	}
	s.jtis[body.Jti] = true
	return nil
}

func decode(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
