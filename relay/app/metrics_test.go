package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"mailwhy/relay/record/metrics/metricstest"
	"mailwhy/relay/smtptest"
)

// scrape fetches and parses the metrics at an address, as Prometheus does.
func scrape(t *testing.T, network, addr string) metricstest.Page {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	res, err := client.Get("http://mailwhy/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %s\n%s", err, res.Status, text)
	}
	p, err := metricstest.Parse(string(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// meteredDoor is the configuration of a relay whose own users may send, and a client's networks, that
// serves metrics over HTTP.
func meteredDoor(t *testing.T, dir string, id *smtptest.Identity, client string) string {
	t.Helper()
	upstream := smtptest.New(t, smtptest.Options{Script: smtptest.Practice()})
	files := &door{t: t, dir: dir}
	files.write("crt", string(id.CertPEM))
	files.write("key", string(id.KeyPEM))
	files.write("users", userLine(t, "cron", "secret"))
	return plainDoor(dir, upstream.URL()) +
		fmt.Sprintf("[access]\nusers_file = %q\ndeny_recipients = [\"@denied.test\"]\n", dir+"/users") +
		fmt.Sprintf("[tls]\ncert_file = %q\nkey_file = %q\n", dir+"/crt", dir+"/key") +
		"[dsn]\ncollect = \"0s\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[[listen]]\naddress = " +
		"\"127.0.0.1:0\"\n" +
		fmt.Sprintf("[[client]]\nname = %q\nnetworks = [\"127.0.0.0/8\"]\n", client)
}

// greet begins a session, under TLS as the user if there is one.
func (d *door) greet(id *smtptest.Identity, user string) *visitor {
	v := d.visit(0, "")
	v.say("", "220")
	v.say("EHLO client.test", "250")
	if user != "" {
		v = v.secure(trusting(id))
		v.say("EHLO client.test", "250")
		v.say(plainAuth(user, "secret"), "235")
	}
	return v
}

// mailTo sends a message to each of the recipients.
func (v *visitor) mailTo(recipients ...string) {
	v.t.Helper()
	v.say("MAIL FROM:<app@client.test>", "250")
	for _, to := range recipients {
		v.say("RCPT TO:<"+to+">", "250")
	}
	v.say("DATA", "354")
	v.say("Subject: x\r\n\r\nhello\r\n.", "250")
}

// TestMetricsOfARelay: what becomes of the mail of a named client and of a user is told on both ways to the
// metrics.
func TestMetricsOfARelay(t *testing.T) {
	dir, id := t.TempDir(), smtptest.NewCertificate(t, "relay.test")
	conf := meteredDoor(t, dir, id, "shop")
	d, err := openDoor(t, dir, conf)
	if err != nil {
		t.Fatal(err)
	}
	v := d.greet(id, "")
	v.mailTo("joe@any.test")
	v.mailTo("550-5.1.1@any.test")
	v.mailTo("452-4.2.2@any.test", "ann@any.test")
	v.say("MAIL FROM:<app@client.test>", "250")
	v.say("RCPT TO:<joe@denied.test>", "550")
	d.greet(id, "cron").mailTo("joe@any.test")

	overHTTP := d.app.MetricsAddr().String()
	for network, addr := range map[string]string{"unix": d.app.cfg.Load().Admin.Socket, "tcp": overHTTP} {
		smtptest.WaitFor(t, "all but the deferred message to leave", func() bool {
			p := scrape(t, network, addr)
			return p[`mailwhy_queue_messages`] == 1 &&
				p[`mailwhy_message_delay_seconds_count{upstream="default"}`] == 4
		})
		checkMetrics(t, scrape(t, network, addr))
	}

	d.mustReload(strings.Replace(conf, `"shop"`, `"office"`, 1))
	d.greet(id, "").mailTo("joe@any.test")
	p := scrape(t, "tcp", overHTTP)
	if p[`mailwhy_messages_accepted_total{client="office"}`] != 1 ||
		p[`mailwhy_messages_accepted_total{client="shop"}`] != 3 {
		t.Errorf("after a reload: %v", p)
	}
}

// checkMetrics checks the page of TestMetricsOfARelay.
func checkMetrics(t *testing.T, p metricstest.Page) {
	t.Helper()
	p.Expect(t, map[string]float64{
		`mailwhy_messages_accepted_total{client="shop"}`:    3,
		`mailwhy_recipients_accepted_total{client="shop"}`:  4,
		`mailwhy_refused_total{client="shop"}`:              1,
		`mailwhy_messages_accepted_total{client="cron"}`:    1,
		`mailwhy_messages_accepted_total{client="unnamed"}`: 0,
		// the bounce is one
		`mailwhy_recipients_total{event="relayed",upstream="default",category="none"}`:               4,
		`mailwhy_recipients_total{event="failed",upstream="default",category="Invalid Address"}`:     1,
		`mailwhy_recipients_total{event="deferred",upstream="default",category="Mailbox Full"}`:      1,
		`mailwhy_recipient_reasons_total{event="failed",upstream="default",reason="user_unknown"}`:   1,
		`mailwhy_recipient_reasons_total{event="deferred",upstream="default",reason="mailbox_full"}`: 1,
		`mailwhy_bounces_total{kind="failed"}`:                                                       1,
		`mailwhy_attempt_duration_seconds_count{upstream="default"}`:                                 6,
		`mailwhy_lane_paused{upstream="default"}`:                                                    0,
		`mailwhy_lane_connections_limit{upstream="default"}`:                                         20,
		`mailwhy_queue_notices`: 0,
	})
	if p["mailwhy_spool_free_bytes"] <= 0 || p["process_start_time_seconds"] <= 0 ||
		p["mailwhy_queue_bytes"] <= 0 {
		t.Errorf("%v", p)
	}
	for series := range p {
		for _, private := range []string{"127.0.0.1", "any.test", "client.test"} {
			if strings.Contains(series, private) {
				t.Errorf("%s has %s", series, private)
			}
		}
	}
}

// TestMetricsPortInUse: the relay says which setting is at fault and does not start, and by default there
// is no listener.
func TestMetricsPortInUse(t *testing.T) {
	upstream := smtptest.New(t, smtptest.Options{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	listen := "[[listen]]\naddress = \"127.0.0.1:0\"\n"
	_, err = openDoor(t, dir, plainDoor(dir, upstream.URL())+listen+
		fmt.Sprintf("[metrics]\nlisten = %q\n", taken.Addr().String()))
	if err == nil || !strings.HasPrefix(err.Error(), "metrics.listen: ") ||
		!strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
	d, err := openDoor(t, dir, plainDoor(dir, upstream.URL())+listen)
	if err != nil {
		t.Fatal(err)
	}
	if addr := d.app.MetricsAddr(); addr != nil {
		t.Errorf("options.Listens on %s", addr)
	}
}
