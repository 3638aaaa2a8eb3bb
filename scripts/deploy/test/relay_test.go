package deploytest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// program is mailwhy, built once.
var program = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(os.TempDir(), "mailwhy-deploytest")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/mailwhy")
	cmd.Dir = "../../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return bin, err
})

// configuration turns on whatever has metrics of its own.
const configuration = `
hostname = "relay.example.com"
[spool]
dir = "DIR/spool"
[delivery_log]
file = "DIR/log"
[[listen]]
address = "SMTP"
[metrics]
listen = "METRICS"
[upstream.default]
url = "smtp://PRACTICE?tls=none"
[upstream.second]
host = "smtp.example.com"
username = "a@example.com"
oauth_token_url = "https://127.0.0.1:9/token"
oauth_client_id = "id"
oauth_client_secret = "secret"
oauth_secret_expires = "2099-01-31"
oauth_scope = "https://mail.example.com/send"
[[route]]
upstreams = ["default", "second"]
[[webhook]]
name = "shop"
url = "http://127.0.0.1:9/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"
[suppression]
mode = "enforce"
[feedback]
listen = "HOOKS"
[[feedback.webhook]]
provider = "postmark"
credential = "user:a password of length"
`

// scraped is what a relay serves after it has relayed a message and failed with another one.
var scraped = sync.OnceValues(func() (metrics, error) {
	dir, err := os.MkdirTemp("", "deploytest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin, err := program()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	smtpAddr, metricsAddr, practice, hooks := freePort(), freePort(), freePort(), freePort()
	config := strings.NewReplacer("DIR", dir, "SMTP", smtpAddr, "METRICS", metricsAddr, "PRACTICE", practice,
		"HOOKS", hooks).Replace(configuration)
	file := filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"practice", "--listen", practice}, {"serve", "-c", file}} {
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Stderr = os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		ended := make(chan struct{})
		go func() { // a program that ends by itself leaves nothing to wait for
			defer close(ended)
			cmd.Wait()
			cancel()
		}()
		defer func() { cancel(); <-ended }()
	}
	if err := wait(ctx, func() bool { return get(metricsAddr, "/readyz") != nil }); err != nil {
		return nil, err
	}
	to := []string{"250@any.test", "550-5.1.1@any.test"}
	err = smtp.SendMail(smtpAddr, nil, "a@example.com", to, []byte("Subject: a\r\n\r\nb\r\n"))
	if err != nil {
		return nil, err
	}
	var m metrics
	err = wait(ctx, func() bool {
		m = parse(get(metricsAddr, "/metrics"))
		return m["mailwhy_recipient_reasons_total"]["event"]["failed"]
	})
	if err != nil {
		return nil, err
	}
	return m, m.addDocumented()
})

// addDocumented adds the metrics that a relay serves only after more has happened, with their labels, from
// the tables of docs/metrics.md, which a test of its own holds to the code.
func (m metrics) addDocumented() error {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		return err
	}
	word := regexp.MustCompile("`([a-z_]+)`")
	for line := range strings.Lines(string(page)) {
		columns := strings.Split(line, "|")
		if len(columns) != 5 || !strings.Contains(columns[1], "`mailwhy_") {
			continue
		}
		for _, name := range word.FindAllStringSubmatch(columns[1], -1) {
			if m[name[1]] != nil {
				continue
			}
			m[name[1]] = map[string]map[string]bool{}
			for _, label := range word.FindAllStringSubmatch(columns[2], -1) {
				m[name[1]][label[1]] = map[string]bool{}
			}
		}
	}
	return nil
}

func scrape(t *testing.T) metrics {
	t.Helper()
	m, err := scraped()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wait tries until it is so, or ctx ends.
func wait(ctx context.Context, so func() bool) error {
	for !so() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// get is the body of a 200, or nil.
func get(addr, path string) []byte {
	resp, err := http.Get("http://" + addr + path)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	return body
}

// parse reads the text format. The series of a histogram have the names that queries use.
func parse(text []byte) metrics {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		return nil
	}
	m := metrics{}
	for name, family := range families {
		names := []string{name}
		if family.GetType().String() == "HISTOGRAM" {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
		}
		for _, n := range names {
			m[n] = map[string]map[string]bool{"le": {}}
			for _, series := range family.GetMetric() {
				for _, l := range series.GetLabel() {
					if m[n][l.GetName()] == nil {
						m[n][l.GetName()] = map[string]bool{}
					}
					m[n][l.GetName()][l.GetValue()] = true
				}
			}
		}
	}
	return m
}

// freePort is an address of loopback at which nothing listens.
func freePort() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer ln.Close()
	return ln.Addr().String()
}
