package dropin

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prefix is that of the variables that set a parameter of Postfix.
const prefix = "POSTFIX_"

// parameters reads the parameters of Postfix that nothing else did. Each has a note.
func (r *reading) parameters() {
	table := counterparts()
	for _, variable := range slices.Sorted(maps.Keys(r.env)) {
		name, ok := strings.CutPrefix(variable, prefix)
		value := r.get(variable)
		if !ok || r.seen[variable] {
			continue
		}
		read, known := table[name]
		switch {
		case value == "":
			r.none(variable, "it is empty")
		case strings.Contains(value, "$"):
			r.refused(variable, "mailwhy does not expand $ in it")
		case known:
			read(r, variable, value)
		default:
			r.none(variable, reasonOf(name))
		}
	}
}

// counterpart reads the value of a parameter.
type counterpart func(r *reading, variable, value string)

// counterparts are the parameters that have one.
func counterparts() map[string]counterpart {
	return map[string]counterpart{
		"smtp_tls_CAfile":             as(upstream + "ca_file"),
		"smtp_tls_cert_file":          as(upstream + "cert_file"),
		"smtp_tls_key_file":           as(upstream + "key_file"),
		"smtp_helo_name":              as(upstream + "hello"),
		"smtp_bind_address":           as(upstream + "local_addr"),
		"smtpd_tls_cert_file":         as("tls.cert_file"),
		"smtpd_tls_key_file":          as("tls.key_file"),
		"myorigin":                    as("content.default_domain"),
		"maximal_queue_lifetime":      asTime("retry.expire_after", 24*time.Hour),
		"delay_warning_time":          asTime("dsn.delay_after", time.Hour),
		"smtp_connect_timeout":        asTime(upstream+"connect_timeout", time.Second),
		"smtp_helo_timeout":           asTime(upstream+"greeting_timeout", time.Second),
		"smtp_data_done_timeout":      asTime(upstream+"final_timeout", time.Second),
		"smtpd_timeout":               asTime("smtpd.idle_timeout", time.Second),
		"smtpd_recipient_limit":       asNumber("smtpd.max_recipients", 100),
		"hopcount_limit":              asNumber("smtpd.max_hops", 1),
		"smtp_destination_rate_delay": rateDelay, "default_destination_rate_delay": rateDelay,

		"smtpd_client_connection_count_limit":   asNumber("smtpd.max_connections_per_client", 1),
		"smtp_destination_concurrency_limit":    asNumber(upstream+"concurrency", 1),
		"default_destination_concurrency_limit": asNumber(upstream+"concurrency", 1),
		"smtp_destination_recipient_limit":      asNumber(upstream+"max_recipients", 1),
		"default_destination_recipient_limit":   asNumber(upstream+"max_recipients", 1),
		"smtp_sasl_mechanism_filter":            mechanisms,
		"always_bcc":                            alwaysBcc,
		"inet_protocols":                        protocols,
		"smtpd_tls_security_level":              listenerTLS,
	}
}

// as makes a setting of a value as it is.
func as(path string) counterpart {
	return func(r *reading, variable, value string) { r.became(variable, path, value) }
}

// asNumber makes a setting of a number that is at least least.
func asNumber(path string, least int) counterpart {
	return func(r *reading, variable, value string) {
		n, err := strconv.Atoi(value)
		if err != nil || n < least {
			r.refused(variable, fmt.Sprintf("%s is a number of at least %d", path, least))
			return
		}
		r.became(variable, path, value)
	}
}

// asTime makes a setting of a time, which has a unit of its own if the value names none.
func asTime(path string, unit time.Duration) counterpart {
	return func(r *reading, variable, value string) {
		d, err := parseTime(value, unit)
		if err != nil {
			r.refused(variable, err.Error())
			return
		}
		r.became(variable, path, d.String())
	}
}

// parseTime reads a time as Postfix writes it: a number and s, m, h, d or w.
func parseTime(s string, unit time.Duration) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
		'w': 7 * 24 * time.Hour}
	number := s
	if u, ok := units[s[len(s)-1]]; ok {
		number, unit = s[:len(s)-1], u
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n > uint64(10*365*24*time.Hour/unit) {
		return 0, fmt.Errorf("%q is not a time such as 5d", s)
	}
	return time.Duration(n) * unit, nil
}

// rateDelay makes a rate of the time between two messages, which go one after the other then.
func rateDelay(r *reading, variable, value string) {
	d, err := parseTime(value, time.Second)
	if err != nil || d == 0 || d > time.Hour {
		r.refused(variable, fmt.Sprintf("%q is not a time of up to an hour", value))
		return
	}
	r.put(upstream+"concurrency", "1", variable)
	r.became(variable, upstream+"rate", fmt.Sprintf("%d/h", time.Hour/d))
}

// mechanisms reads the mechanisms of the login, in order.
func mechanisms(r *reading, variable, value string) {
	known := []string{"plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer"}
	var list []string
	for _, word := range splitList(strings.ToLower(value)) {
		if slices.Contains(known, word) {
			list = append(list, word)
		}
	}
	if len(list) == 0 {
		r.refused(variable, "mailwhy knows none of these mechanisms")
		return
	}
	r.became(variable, upstream+"auth", strings.Join(list, ","))
}

// alwaysBcc adds an archive.
func alwaysBcc(r *reading, variable, value string) {
	r.put("archive", []any{map[string]any{"bcc": value}}, variable)
	r.note(variable, Became, "archive.bcc = "+value, "archive")
}

// protocols reads whether IPv6 is used.
func protocols(r *reading, variable, value string) {
	switch value {
	case "ipv4":
		r.became(variable, upstream+"ipv6", "false")
	case "all", "ipv4, ipv6", "ipv4,ipv6":
		r.none(variable, "both are used")
	default:
		r.none(variable, "mailwhy can do without IPv6, not without IPv4")
	}
}

// listenerTLS reads whether clients can use TLS.
func listenerTLS(r *reading, variable, value string) {
	switch {
	case value == "none":
		r.listener["tls"] = "none"
		r.note(variable, Became, "listen.tls = none", "listen")
	case value == "may":
		r.none(variable, "STARTTLS is offered if there is a certificate")
	default:
		r.refused(variable, "mailwhy cannot demand TLS of its clients; it offers STARTTLS if there is a "+
			"certificate")
	}
}

// needless are the parameters whose effect there is anyway, with the reason.
func needless() map[string]string {
	return map[string]string{
		"smtp_sasl_auth_enable":            "there is a login if there are credentials",
		"smtp_sasl_security_options":       "a password is sent under TLS, or where that is allowed without",
		"smtp_sasl_tls_security_options":   "a password is sent under TLS, or where that is allowed without",
		"smtp_use_tls":                     "POSTFIX_smtp_tls_security_level decides",
		"smtpd_use_tls":                    "STARTTLS is offered if there is a certificate",
		"smtpd_sasl_auth_enable":           "AUTH is offered if there are users",
		"smtpd_tls_auth_only":              "without SMTPD_SASL_USERS there are no users",
		"smtputf8_enable":                  "SMTPUTF8 is offered as far as the upstream has it",
		"smtpd_helo_required":              "EHLO or HELO is always required",
		"smtp_tls_note_starttls_offer":     "the delivery log has the TLS of each attempt",
		"smtp_tls_session_cache_database":  "connections are kept and used again",
		"smtpd_tls_session_cache_database": "sessions are resumed without one",
		"smtp_tls_loglevel":                "the delivery log has the TLS of each attempt",
		"smtpd_tls_loglevel":               "the log has every handshake that fails",
		"smtpd_tls_received_header":        "Received fields always tell the TLS",
		"smtpd_sasl_authenticated_header":  "the delivery log has the user",
		"header_size_limit":                "a header may be as long as the mail",
	}
}

// reasonOf says why a parameter has no counterpart, with what there is in its place.
func reasonOf(name string) string {
	if why, known := needless()[name]; known {
		return why
	}
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
	}
	switch {
	case has("relayhost_maps", "transport_maps", "fallback_relay"):
		return "Postfix's maps are not read: several upstreams and [[route]] do this"
	case has("canonical", "generic_maps", "masquerade", "alias_maps", "alias_database"):
		return "Postfix's maps are not read: [[rewrite]] changes addresses"
	case has("password_maps", "sasl"):
		return "Postfix's maps are not read: RELAYHOST_USERNAME and RELAYHOST_PASSWORD are the login, " +
			"SMTPD_SASL_USERS those of clients"
	case has("milter"):
		return "milters are not called: [[dkim]] signs"
	case has("_checks"):
		return "contents are not filtered: [[rewrite]] removes header fields"
	case has("restrictions"):
		return "[[client]] and [access] say who may send what"
	case has("backoff", "queue_run", "lifetime"):
		return "retry.schedule says when mail is tried again"
	case has("bounce", "notify_classes", "notice_recipient"):
		return "[dsn] says where bounces go"
	case has("tls_"):
		return "the TLS of Go has its own safe choice; [tls] and the upstream's tls_ settings are all " +
			"there is"
	case has("mydestination", "virtual_", "mailbox_", "relay_domains", "local_"):
		return "mailwhy relays all mail and delivers none itself"
	}
	return "mailwhy is not Postfix and does not need it; docs/configuration.md lists its own settings"
}
