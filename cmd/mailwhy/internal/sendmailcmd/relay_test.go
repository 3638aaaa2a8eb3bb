package sendmailcmd

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwhy/config"
)

// write writes a file of a test.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "relay.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const twoListeners = `hostname = "relay.corp.test"
[content]
default_domain = "corp.test"
[feedback.return_path]
address = "bounces@relay.corp.test"
upstreams = ["default"]
[upstream.default]
host = "smtp.corp.test"
[[listen]]
address = ":2527"
[[listen]]
address = "127.0.0.1:2528"
role = "bounces"
[[listen]]
address = "127.0.0.1:2529"
protocol = "lmtp"
[[listen]]
address = "unix:/run/a.sock"
`

func TestFindRelay(t *testing.T) {
	t.Setenv("MAILWHY_CONFIG", "")
	there, socket, broken := write(t, twoListeners), write(t, ""), write(t, "[[listen]\n")
	for _, tt := range []struct {
		name, env, file, socket string
		call                    call
		want                    string // the listeners in the order in which they are tried
		domain                  string
		ignored                 bool
	}{
		{"nothing is there", "", "/no", "/no", call{}, "127.0.0.1:2525 (the default listener)", "", false},
		{"a socket is there", "", "/no", socket, call{},
			"unix:" + socket + " (the default socket), 127.0.0.1:2525 (the default listener)", "", false},
		{"the default configuration is there", "", there, socket, call{},
			"unix:/run/a.sock (a listener of " + there + "), 127.0.0.1:2527 (a listener of " + there + ")",
			"corp.test", false},
		{"-C", "", "/no", socket, call{config: there},
			"unix:/run/a.sock (a listener of " + there + "), 127.0.0.1:2527 (a listener of " + there + ")",
			"corp.test", false},
		{"the environment", "relay:25", there, socket, call{},
			"relay:25 (" + Variable + ")", "corp.test", false},
		{"--relay", "relay:25", there, socket, call{relay: "unix:/x"},
			"unix:/x (--relay)", "corp.test", false},
		{"a configuration that cannot be read", "", broken, socket, call{},
			"unix:" + socket + " (the default socket), 127.0.0.1:2525 (the default listener)", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(Variable, tt.env)
			o := Options{File: tt.file, Socket: tt.socket, Load: func(file string) (*config.Config, error) {
				return config.Load(config.Source{File: file, Local: true})
			}}
			got, err := o.findRelay(&tt.call)
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, l := range got.listeners {
				all = append(all, l.String()+" ("+l.why+")")
			}
			if s := strings.Join(all, ", "); s != tt.want || (got.ignored != nil) != tt.ignored {
				t.Errorf("got %s, %v", s, got.ignored)
			}
			if d := got.domain(); tt.domain != "" && d != tt.domain {
				t.Errorf("domain %s", d)
			}
		})
	}
}

func TestFindRelayMistakes(t *testing.T) {
	lmtp := write(t, "[[listen]]\naddress = \"127.0.0.1:2529\"\nprotocol = \"lmtp\"\n")
	o := Options{File: "/no", Socket: "/no", Load: func(file string) (*config.Config, error) {
		return config.Load(config.Source{File: file, Local: true})
	}}
	for want, c := range map[string]call{
		`--relay: "here" is not an address; write "host:port" or "unix:/path"`: {relay: "here"},
		"has no listener that takes mail by SMTP without TLS":                  {config: lmtp},
	} {
		if _, err := o.findRelay(&c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A listener that does not answer, such as a socket of other users, is passed over.
func TestDialTakesTheFirstThatAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := target{listeners: []listener{{"unix", "/does/not/exist", "a"}, {"tcp", ln.Addr().String(), "b"}}}
	conn, chosen, err := to.dial(t.Context())
	if err != nil || chosen.why != "b" {
		t.Fatal(chosen, err)
	}
	conn.Close()
	ln.Close()
	_, _, err = to.dial(t.Context())
	for _, want := range []string{
		"unix:/does/not/exist (a)", to.listeners[1].address + " (b)", "start the relay",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it lacks %q: %v", want, err)
		}
	}
}
