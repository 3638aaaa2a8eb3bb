package config

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailwhy/config/value"
	"mailwhy/relay/preset"
)

// The values of type that stand for an HTTP API.
const (
	typeSMTP  = "smtp"
	typeSES   = "ses-api"
	typeGraph = "graph"
)

// IsAPI reports whether the next hop is an HTTP API.
func (u *Upstream) IsAPI() bool { return u.Type == typeSES || u.Type == typeGraph }

// InstanceMetadata is where an EC2 instance finds its own credentials.
const InstanceMetadata = "http://169.254.169.254"

// containerHost is where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is to be found.
const containerHost = "http://169.254.170.2"

// graphClouds are the hosts of Graph, by oauth_provider.
func graphClouds() map[string]string {
	return map[string]string{
		"m365":          "https://graph.microsoft.com",
		"m365-gcc-high": "https://graph.microsoft.us",
		"m365-dod":      "https://dod-graph.microsoft.us",
		"m365-21vianet": "https://microsoftgraph.chinacloudapi.cn",
	}
}

// keysOf are the keys that only some types have a use for. Host, port, TLS mode, hello and auth are not among
// them: they are always filled in, and shown.
func keysOf() map[string][]string {
	ses := []string{typeSES}
	smtp := []string{typeSMTP}
	keys := map[string][]string{"endpoint": {typeSES, typeGraph}, "mailbox": {typeGraph},
		"region": {typeSMTP, typeSES}, "username": {typeSMTP, typeGraph}}
	for _, name := range []string{"access_key_id", "secret_access_key", "secret_access_key_file", "role_arn",
		"web_identity_token_file", "sts_endpoint", "container_credentials_uri", "container_token",
		"container_token_file"} {
		keys[name] = ses
	}
	for _, name := range []string{"preset", "cert_file", "key_file", "password", "password_file",
		"password_kind", "allow_plaintext_auth", "local_addr", "ipv6", "pipelining", "tag",
		"greeting_timeout", "max_messages_per_connection", "max_connection_age"} {
		keys[name] = smtp
	}
	return keys
}

// api fills in what is known of an API's limits.
func (f *filler) api(kind string) {
	f.from = "type " + kind
	f.add("null_sender", preset.Documented, string(preset.Refused))
	if kind == typeSES {
		f.add("max_recipients", preset.Documented, 50)
		return
	}
	f.add("max_recipients", preset.Documented, 500)
	f.add("concurrency", preset.Documented, 4)
	f.add("rate", preset.Documented, value.Rate{Messages: 30, Per: time.Minute})
}

// completeAPI fills in what the type and the environment imply. What is configured goes first.
func (u *Upstream) completeAPI(env []string) {
	switch u.Type {
	case typeSES:
		u.completeSES(env)
	case typeGraph:
		u.completeGraph()
	default:
		return
	}
	at, err := url.Parse(u.Endpoint)
	if err != nil || at.Host == "" {
		return
	}
	setDefault(&u.Host, at.Hostname())
	u.TLS, u.Port = "implicit", 443
	if at.Scheme == "http" {
		u.TLS, u.Port = "none", 80
	}
	if port, err := strconv.Atoi(at.Port()); err == nil {
		u.Port = port
	}
}

func (u *Upstream) completeSES(env []string) {
	setDefault(&u.Region, lookup(env, "AWS_REGION"))
	setDefault(&u.Region, lookup(env, "AWS_DEFAULT_REGION"))
	domain := ".amazonaws.com"
	if strings.HasPrefix(u.Region, "cn-") {
		domain += ".cn"
	}
	if u.Region != "" {
		setDefault(&u.Endpoint, "https://email."+u.Region+domain)
		setDefault(&u.STSEndpoint, "https://sts."+u.Region+domain)
	}
	if u.AccessKeyID != "" || u.hasSecretKey() {
		return
	}
	if u.ContainerCredentialsURI == "" {
		setDefault(&u.WebIdentityTokenFile, lookup(env, "AWS_WEB_IDENTITY_TOKEN_FILE"))
	}
	if u.WebIdentityTokenFile != "" {
		setDefault(&u.RoleARN, lookup(env, "AWS_ROLE_ARN"))
		return
	}
	if path := lookup(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		setDefault(&u.ContainerCredentialsURI, containerHost+path)
	}
	setDefault(&u.ContainerCredentialsURI, lookup(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI"))
	if u.ContainerCredentialsURI == "" || u.ContainerTokenFile != "" || !u.ContainerToken.IsZero() {
		return
	}
	u.ContainerTokenFile = lookup(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
	if token := lookup(env, "AWS_CONTAINER_AUTHORIZATION_TOKEN"); token != "" && u.ContainerTokenFile == "" {
		u.ContainerToken = value.NewSecret(token)
	}
}

func (u *Upstream) completeGraph() {
	setDefault(&u.Mailbox, u.Username)
	setDefault(&u.Username, u.Mailbox)
	setDefault(&u.OAuthProvider, "m365")
	cloud := graphClouds()[u.OAuthProvider]
	setDefault(&u.Endpoint, cloud)
	if cloud == "" {
		return
	}
	if u.OAuthGrant == grantRefresh || u.OAuthGrant == "" && u.OAuthTokenFile != "" {
		setDefault(&u.OAuthScope, cloud+"/Mail.Send offline_access")
	} else {
		setDefault(&u.OAuthScope, cloud+"/.default")
	}
}

func (u *Upstream) hasSecretKey() bool {
	return !u.SecretAccessKey.IsZero() || u.SecretAccessKeyFile != ""
}

// validateType checks that every key that is set is of use to the type, and what an API needs.
func (u *Upstream) validateType(path string, report reportFunc) {
	at := func(name, what, hint string) { report(path+"."+name, what, hint) }
	u.validateUse(at)
	if !u.IsAPI() {
		return
	}
	if e, err := url.Parse(u.Endpoint); err == nil && e.Hostname() != "" && e.Hostname() != u.Host {
		at("host", fmt.Sprintf("is not used with type = %q", u.Type), "the host is part of endpoint")
	}
	for _, e := range []struct{ name, value string }{{"endpoint", u.Endpoint},
		{"sts_endpoint", u.STSEndpoint}} {
		if e.value != "" && !secureURL(e.value) {
			at(e.name, fmt.Sprintf("%q is not an https URL", e.value),
				"credentials and mail travel there; http is allowed for this machine only")
		}
	}
	if u.NullSender != string(preset.Refused) {
		at("null_sender", fmt.Sprintf("is %q, but the API cannot send without a sender", u.NullSender),
			"leave it out")
	}
	if u.Type == typeSES {
		u.validateSES(at)
		return
	}
	switch {
	case u.Mailbox == "":
		at("mailbox", "is not set", "write the address of the mailbox that mail is sent with")
	case graphClouds()[u.OAuthProvider] == "" && u.Endpoint == "":
		at("oauth_provider", fmt.Sprintf("is %q, which has no Graph", u.OAuthProvider),
			"write one of "+strings.Join(sortedNames(graphClouds()), ", "))
	}
}

// validateUse reports keys that are set and that the type has no use for.
func (u *Upstream) validateUse(at reportFunc) {
	defaults := map[string]reflect.Value{}
	walk("", reflect.ValueOf(DefaultUpstream()).Elem(), func(k key) { defaults[k.path] = k.value })
	uses := keysOf()
	walk("", reflect.ValueOf(u).Elem(), func(k key) {
		types, some := uses[k.path]
		if !some || slices.Contains(types, u.Type) || show(k.value) == show(defaults[k.path]) ||
			slices.ContainsFunc(u.secrets(), func(s secretFile) bool {
				return s.key == "."+k.path && s.file != "" // its file is reported
			}) {
			return
		}
		at(k.path, fmt.Sprintf("is not used with type = %q", u.Type),
			"it belongs to type "+strings.Join(types, " or ")+"; leave it out")
	})
}

// validateSES checks the region and the credentials.
func (u *Upstream) validateSES(at reportFunc) {
	for _, name := range u.oauthKeys() {
		if name == "oauth_grant" {
			continue // it follows from the others
		}
		at(name, fmt.Sprintf("is not used with type = %q", u.Type), "leave it out")
	}
	switch {
	case u.Region == "":
		at("region", "is not set, nor is AWS_REGION", `write region = "eu-central-1"`)
	case u.AccessKeyID != "" && !u.hasSecretKey():
		at("secret_access_key", "is not set, but access_key_id is", "set secret_access_key_file")
	case u.AccessKeyID == "" && u.hasSecretKey():
		at("access_key_id", "is not set, but a secret access key is", "")
	case u.AccessKeyID != "" && (u.RoleARN != "" || u.ContainerCredentialsURI != ""):
		at("access_key_id", "is set, and a role too", "keep one of them")
	case u.WebIdentityTokenFile != "" && u.RoleARN == "":
		at("role_arn", "is not set, but web_identity_token_file is", "write the ARN of the role to assume")
	case u.RoleARN != "" && u.WebIdentityTokenFile == "":
		at("web_identity_token_file", "is not set, but role_arn is",
			"a role is assumed with a service account's token; an instance's own role needs no setting")
	}
	if uri := u.ContainerCredentialsURI; uri != "" && !secureURL(uri) && !linkLocal(uri) {
		at("container_credentials_uri",
			fmt.Sprintf("%q is neither https nor a link-local or loopback address", uri),
			"leave it out where the platform sets AWS_CONTAINER_CREDENTIALS_FULL_URI")
	}
}

// linkLocal reports whether a URL is one of the endpoints of ECS and EKS, which have no TLS.
func linkLocal(raw string) bool {
	u, err := url.Parse(raw)
	own := []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
	return err == nil && slices.Contains(own, u.Hostname())
}

// sortedNames are the keys of a map, sorted.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
