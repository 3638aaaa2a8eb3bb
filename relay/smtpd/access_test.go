package smtpd

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"mailwhy/relay"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func nets(list ...string) []Network { return []Network{{Name: "n", Prefixes: prefixes(list...)}} }

// TestNeverAnOpenRelay is a table of configurations, from the default to the careless. For each: whether it
// starts, and, whether it does or not, which strangers could send if it did.
func TestNeverAnOpenRelay(t *testing.T) {
	const world, local = "0.0.0.0:25", "127.0.0.1:2525"
	users := testUsers(t, "app", "secret")
	tests := []struct {
		name   string
		listen Listen
		access Access
		starts bool
	}{
		{"default: loopback for loopback", Listen{Addr: local},
			Access{Networks: []Network{LoopbackNetwork()}}, true},
		{"loopback networks, listening to the world", Listen{Addr: world},
			Access{Networks: []Network{LoopbackNetwork()}}, true},
		{"no networks at all", Listen{Addr: world}, Access{}, true},
		{"private networks", Listen{Addr: world},
			Access{Networks: nets("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")}, true},
		{"an office", Listen{Addr: world}, Access{Networks: nets("203.0.113.0/24", "2001:db8:1::/48")}, true},
		{"a whole /8, one organization's", Listen{Addr: world}, Access{Networks: nets("17.0.0.0/8")}, true},
		{"users only", Listen{Addr: world}, Access{Users: users}, true},
		{"everybody, but AUTH required", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0", "::/0"), Users: users, AuthRequired: true}, true},
		{"everybody, to own recipients", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@own.test"}}, true},
		{"everybody, on loopback", Listen{Addr: local}, Access{Networks: nets("0.0.0.0/0", "::/0")}, true},
		{"everybody, on a unix socket", Listen{Network: "unix", Addr: "/run/s"},
			Access{Networks: nets("0.0.0.0/0")}, true},
		{"everybody", Listen{Addr: world}, Access{Networks: nets("0.0.0.0/0")}, false},
		{"everybody by IPv6", Listen{Addr: "[::]:25"}, Access{Networks: nets("::/0")}, false},
		{"everybody, by a bare port", Listen{Addr: ":25"}, Access{Networks: nets("0.0.0.0/0")}, false},
		{"everybody by host name", Listen{Addr: "mail.test:25"}, Access{Networks: nets("0.0.0.0/0")}, false},
		{"everybody in two halves", Listen{Addr: world}, Access{Networks: nets("0.0.0.0/1", "128.0.0.0/1")},
			false},
		{"everybody in eight parts", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/3", "32.0.0.0/3", "64.0.0.0/3", "96.0.0.0/3")}, false},
		{"everybody as IPv4 in IPv6", Listen{Addr: world}, Access{Networks: nets("::ffff:0.0.0.0/96")},
			false},
		{"global unicast IPv6", Listen{Addr: world}, Access{Networks: nets("2000::/3")}, false},
		{"everybody, recipients in all of com", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.com"}}, false},
		{"everybody, recipients in all of com, net and org", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.com", "@.net", "@.org"}}, false},
		{"everybody, a public suffix beside own recipients", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@own.test", "@.co.uk"}}, false},
		{"everybody, a public suffix in capitals", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.CO.UK"}}, false},
		{"everybody, a public suffix in Unicode", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.公司.cn"}}, false},
		{"everybody, all customers of a hosting company", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.github.io"}}, false},
		{"everybody, an address of a public suffix itself", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@co.uk"}}, true},
		{"everybody, all subdomains of its own", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.own.co.uk"}}, true},
		{"everybody, a private name", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@.internal"}}, true},
		{"everybody, senders listed alone", Listen{Addr: world},
			Access{Networks: nets("0.0.0.0/0"), AllowSenders: []string{"@own.test"}}, false},
		{"everybody in halves of IPv6", Listen{Addr: world}, Access{Networks: nets("::/1", "8000::/1")},
			false},
		{"PROXY headers from halves of everybody",
			Listen{Addr: world, Proxy: prefixes("0.0.0.0/1", "128.0.0.0/1")},
			Access{Networks: []Network{LoopbackNetwork()}}, false},
		{"everybody beside users", Listen{Addr: world},
			Access{Networks: nets("10.0.0.0/8", "0.0.0.0/0"), Users: users}, false},
		{"PROXY headers from everybody", Listen{Addr: world, Proxy: prefixes("0.0.0.0/0")},
			Access{Networks: []Network{LoopbackNetwork()}}, false},
		{"everybody behind a proxy of this host", Listen{Addr: local, Proxy: prefixes("127.0.0.1/32")},
			Access{Networks: nets("0.0.0.0/1", "128.0.0.0/1")}, false},
		{"PROXY headers from the balancer", Listen{Addr: world, Proxy: prefixes("10.0.0.5/32")},
			Access{Networks: []Network{LoopbackNetwork()}}, true},
		{"PROXY headers from everybody, users only", Listen{Addr: world, Proxy: prefixes("::/0")},
			Access{Users: users}, true},
		{"bounce mail of everybody", Listen{Addr: world, Bounces: true}, Access{}, true},
		{"bounce mail of everybody, who may also send elsewhere", Listen{Addr: world, Bounces: true},
			Access{Networks: nets("0.0.0.0/0", "::/0"), Users: users}, true},
	}
	if len(tests) < 20 {
		t.Fatalf("%d configurations", len(tests))
	}
	strangers := []string{"8.8.8.8", "198.51.100.7", "2a00:1450::1"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckOpen([]Listen{tt.listen}, tt.access)
			if (err == nil) != tt.starts {
				t.Fatalf("error %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "would relay for anybody") {
				t.Errorf("error %v", err)
			}
			if tt.listen.Bounces {
				takesOnlyBounces(t, tt.access, strangers)
				return
			}
			if !tt.starts || tt.listen.loopback() || closedTo(tt.access.AllowRecipients) {
				return
			}
			o := testOptions(&store{})
			o.Access = tt.access
			for _, ip := range strangers {
				s := strangerSession(t, o, tt.listen, ip)
				if err := s.maySend(); err == nil {
					t.Errorf("%s may send", ip)
				}
			}
		})
	}
}

// takesOnlyBounces checks that a listener for bounce mail takes nothing from strangers, whatever they may do
// elsewhere, but what comes to an expected address.
func takesOnlyBounces(t *testing.T, a Access, strangers []string) {
	t.Helper()
	st := &store{}
	o := testOptions(st)
	o.Access, o.Bounces = a, &Bounces{Keep: 1, Take: new(bounceBox).take,
		Expected: func(a string) bool { return a == "expected@own.test" }}
	for _, ip := range strangers {
		s := strangerSession(t, o, Listen{Addr: "0.0.0.0:25", Bounces: true}, ip)
		s.tx = &transaction{}
		for _, to := range []string{"victim@elsewhere.test", "expected@elsewhere.test",
			"expected%own.test@elsewhere.test", `"expected@own.test"@elsewhere.test`} {
			if s.addRecipient(relay.Recipient{Address: to}) == nil {
				t.Errorf("%s may write to %s", ip, to)
			}
		}
		if err := s.addRecipient(relay.Recipient{Address: "expected@own.test"}); err != nil {
			t.Errorf("%s may not report: %v", ip, err)
		}
		if s.network != nil || s.mayAuth("PLAIN") == nil {
			t.Errorf("%s is more than anybody", ip)
		}
	}
}

// strangerSession is a session of a client at ip, before AUTH.
func strangerSession(t *testing.T, o Options, l Listen, ip string) *session {
	t.Helper()
	srv, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	s := srv.enter(&listener{conf: l, server: srv}, server)
	s.findClient(&net.TCPAddr{IP: net.ParseIP(ip), Port: 4000})
	return s
}

func TestServeRefusesAnOpenRelay(t *testing.T) {
	o := testOptions(&store{})
	o.Access.Networks = nets("0.0.0.0/0")
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(elsewhere{l}, Listen{}); err == nil ||
		!strings.Contains(err.Error(), "would relay for anybody") {
		t.Errorf("%v", err)
	}
}

// elsewhere is a listener that says it can be reached from anywhere.
type elsewhere struct{ net.Listener }

func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 25} }

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, addr string
		want          bool
	}{
		{"<>", "", true},
		{"<>", "a@b.test", false},
		{"a@b.test", "A@B.TEST", true},
		{"a@b.test", "b@b.test", false},
		{"@b.test", "a@B.test", true},
		{"@b.test", "a@c.b.test", false},
		{"@b.test", "a@xb.test", false},
		{"@b.test", `"x@b.test"@evil.test`, false},
		{"@.b.test", "a@c.b.test", true},
		{"@.b.test", "a@b.test", false},
		{"@例子.广告", "a@xn--fsqu00a.xn--4rr70v", true},
		{"@b.test", "", false},
	} {
		if err := CheckPattern(tt.pattern); err != nil {
			t.Errorf("CheckPattern(%q): %v", tt.pattern, err)
		}
		if got := fitting([]string{tt.pattern}, tt.addr) != ""; got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.addr, got)
		}
	}
	for _, bad := range []string{"", "a b", "a@", "@@b", "a@b@c", "*.b.test", "a\n@b", "b.test.",
		"a..b@c.test"} {
		if CheckPattern(bad) == nil {
			t.Errorf("CheckPattern(%q) accepts it", bad)
		}
	}
	for old, want := range map[string]string{"b.test": `write "@b.test"`, ".b.test": `write "@.b.test"`,
		"*": "leave the list empty"} {
		if err := CheckPattern(old); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckPattern(%q): %v, lacks %s", old, err, want)
		}
	}
}

// argonOf is a hash as the argon2 command prints it (RFC 9106).
func argonOf(password string) string {
	salt, enc := []byte("salt-of-a-test"), base64.RawStdEncoding
	key := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return "$argon2id$v=19$m=64,t=1,p=1$" + enc.EncodeToString(salt) + "$" + enc.EncodeToString(key)
}

func TestUsersFile(t *testing.T) {
	hash := argonOf("s3cret")
	u := testUsers(t, "b", "crypt", "# comment", "", "argon:"+hash+":@app.test, ops@x.test")
	for _, tt := range []struct {
		name, password string
		want           bool
	}{
		{"b", "crypt", true}, {"b", "crypt", true}, {"b", "wrong", false}, {"argon", "s3cret", true},
		{"argon", "crypt", false},
		{"nobody", "crypt", false}, {"", "", false}, {"b", "", false},
	} {
		if got := u.verify(tt.name, tt.password); got != tt.want {
			t.Errorf("%q, %q: %v", tt.name, tt.password, got)
		}
	}
	if got := u.byName["argon"].senders; len(got) != 2 || got[1] != "ops@x.test" || u.Len() != 2 {
		t.Errorf("%q", got)
	}
	_,
		err := ParseUsers(strings.NewReader(
		"plain:password\na\n:x\nbig:$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OTAxMjM0NQ\n" +
			"x:" + hash + "\nx:" + hash + "\ny:" + hash + ":a b\n"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"line 1", "line 2", "line 3", "line 4", "line 6", "line 7"} {
		if !strings.Contains(err.Error(), want+":") {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "$argon2id$v") || strings.Contains(err.Error(), "password") &&
		!strings.Contains(err.Error(), "hash-password") {
		t.Errorf("shows a hash: %v", err)
	}
}

func TestDefaultGateway(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n" +
		"eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	if got := defaultGateway(strings.NewReader(table)); got != netip.MustParseAddr("172.17.0.1") {
		t.Errorf("%v", got) // on a little-endian machine, where the table was written
	}
	if got := defaultGateway(strings.NewReader("")); got.IsValid() {
		t.Errorf("%v", got)
	}
}

// TestOpenEntryIsNamed: the error says which entry of the list lets everybody through.
func TestOpenEntryIsNamed(t *testing.T) {
	err := CheckOpen([]Listen{{Addr: "0.0.0.0:25"}},
		Access{Networks: nets("0.0.0.0/0"), AllowRecipients: []string{"@own.test", "@.com"}})
	if err == nil || !strings.Contains(err.Error(), `the entry "@.com"`) {
		t.Error(err)
	}
}

// TestRoutedRecipients: where recipients are limited to a list, a local part cannot lead elsewhere through
// a smarthost.
func TestRoutedRecipients(t *testing.T) {
	for _, tt := range []struct {
		allow, to, reply string
	}{
		{"@own.test", "joe@own.test", "250"},
		{"@own.test", "victim%evil.test@own.test", "550 5.7.1 "},
		{"@own.test", "evil.test!victim@own.test", "550 5.7.1 "},
		{"@own.test", `"victim@evil.test"@own.test`, "550 5.7.1 "},
		{"@own.test", `"@evil.test:victim@other.test"@own.test`, "550 5.7.1 "},
		{"@.own.test", "victim%evil.test@a.own.test", "550 5.7.1 "},
		{"@own.test", "victim%evil.test@own.test", "550 5.7.1 "},
		{"a%b@own.test", "A%b@own.test", "250"}, // this very address is listed
		{"", "victim%evil.test@own.test", "250"},
		{"@own.test", "joe+x=y@own.test", "250"},
	} {
		o := testOptions(&store{})
		if tt.allow != "" {
			o.Access.AllowRecipients = []string{tt.allow}
		}
		_, addr := start(t, o, Listen{})
		c := hello(t, addr)
		c.say("MAIL FROM:<a@b.test>", "250")
		c.say("RCPT TO:<"+tt.to+">", tt.reply)
		c.Close()
	}
}

// TestHiddenCharacters: no form of an address may have a character that cannot be seen or that reorders
// others.
func TestHiddenCharacters(t *testing.T) {
	_, addr := start(t, testOptions(&store{}), Listen{})
	for _, hidden := range []string{"\u0085", "\u009b", "\u202e", "\u2066", "\u200f", "\u061c", "\u200b",
		"\u2028", "\ufeff"} {
		c := hello(t, addr)
		c.say("MAIL FROM:<a"+hidden+"b@b.test> SMTPUTF8",
			"501 5.1.7 Malformed sender address <a?b@b.test>: it contains an invisible or control character")
		c.say("MAIL FROM:<\"a"+hidden+"b\"@b.test> SMTPUTF8", "501 5.1.7 Malformed sender address")
		c.say("MAIL FROM:<a@b"+hidden+"b.test> SMTPUTF8", "501 5.1.7 Malformed sender address")
		c.say("MAIL FROM:<a@b.test> SMTPUTF8", "250")
		c.say("RCPT TO:<c"+hidden+"d@d.test>", "501 5.1.3 Malformed recipient address")
		c.say("RCPT TO:<\"c"+hidden+"d\"@d.test>", "501 5.1.3 Malformed recipient address")
		c.say("RCPT TO:<c@d.test> ORCPT=utf-8;c"+hidden+"@d.test", "501 5.5.4 ")
		c.say(fmt.Sprintf(`RCPT TO:<c@d.test> ORCPT=utf-8;c\x{%X}@d.test`, []rune(hidden)[0]), "501 5.5.4 ")
		c.say("RCPT TO:<c@d.test>", "250")
		c.Close()
	}
}
