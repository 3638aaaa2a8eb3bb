package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Login is what an upstream is logged in to with. A zero time stands for what there is not, or nobody knows.
type Login struct {
	Upstream                  string
	TokenIssued, TokenExpires time.Time // of the OAuth access token
	LastSuccess               time.Time // of a request for one
	SecretExpires             time.Time // of the OAuth client secret, as configured
	CertificateExpires        time.Time // of the OAuth client certificate
	TLSCertificateExpires     time.Time // of the client certificate in TLS
}

// loginGauges tell how old access tokens are, and when what they are got with expires.
type loginGauges struct {
	logins               func() []Login
	now                  func() time.Time
	age, success, expiry *prometheus.Desc
}

func newLoginGauges(logins func() []Login, now func() time.Time) *loginGauges {
	upstream := []string{"upstream"}
	return &loginGauges{
		logins: logins, now: now,
		age: prometheus.NewDesc("mailwhy_oauth_token_age_seconds",
			"Time since the request for the access token.", upstream, nil),
		success: prometheus.NewDesc("mailwhy_oauth_last_success_timestamp_seconds",
			"When the token endpoint last gave an access token.", upstream, nil),
		expiry: prometheus.NewDesc("mailwhy_credential_expiry_timestamp_seconds",
			"When a credential for the upstream expires.", []string{"upstream", "credential"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *loginGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.age
	ch <- g.success
	ch <- g.expiry
}

// Collect implements prometheus.Collector.
func (g *loginGauges) Collect(ch chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, at time.Time, value float64, labels ...string) {
		if !at.IsZero() {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
		}
	}
	for _, l := range g.logins() {
		send(g.age, l.TokenIssued, max(0, g.now().Sub(l.TokenIssued).Seconds()), l.Upstream)
		send(g.success, l.LastSuccess, float64(l.LastSuccess.Unix()), l.Upstream)
		for _, c := range []struct {
			name string
			end  time.Time
		}{
			{"access_token", l.TokenExpires}, {"client_secret", l.SecretExpires},
			{"client_certificate", l.CertificateExpires}, {"tls_certificate", l.TLSCertificateExpires},
		} {
			send(g.expiry, c.end, float64(c.end.Unix()), l.Upstream, c.name)
		}
	}
}
