package accept

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay"
)

// routed is a message with one recipient, as the table below states it.
type routed struct {
	from, to, client, user string
	headers                map[string]string
}

func (r routed) message() *relay.Message {
	return &relay.Message{
		Envelope: relay.Envelope{From: r.from}, Client: relay.Client{Name: r.client, User: r.user},
		Headers: r.headers, Recipients: []relay.Recipient{{Address: r.to}},
	}
}

// rulesOfTable are one of each kind, in an order in which they hide parts of each other.
var rulesOfTable = []Rule{
	{Name: "both", Senders: []string{"@shop.example"}, Recipients: []string{"@.gov.example"},
		Upstreams: []string{"own"}},
	{Name: "vip", Recipients: []string{"ceo@big.example", "@vip.example"}, Upstreams: []string{"ses", "own"}},
	{Name: "crm", Clients: []string{"crm"}, Upstreams: []string{"sendgrid", "ses"}},
	{Name: "user", Users: []string{"app", "batch"}, Upstreams: []string{"ses"}},
	{Name: "header", Headers: map[string]string{"x-stream": "bulk"}, Upstreams: []string{"sendgrid"}},
	{Name: "any header", Headers: map[string]string{"list-id": ""}, Upstreams: []string{"sendgrid", "own"}},
	{Name: "all keys", Clients: []string{"web"},
		Users: []string{"u"}, Headers: map[string]string{"a": "1", "b": "2"}, Upstreams: []string{"own"}},
	{Name: "null", Senders: []string{"<>"}, Upstreams: []string{"own"}},
	{Name: "tenant", Senders: []string{"@tenant.example"}, Upstreams: []string{"m365", "ses"}},
	{Name: "rest", Upstreams: []string{"m365", "ses", "own"}},
}

var upstreamsOfTable = []Candidate{
	{Name: "own"},
	{Name: "ses", Domains: []string{"@shop.example", "@.shop.example"}},
	{Name: "sendgrid"},
	{Name: "m365", Domains: []string{"@corp.example", "boss@other.example", "@bücher.example"}},
}

func TestRoutes(t *testing.T) {
	r, err := NewRouter(rulesOfTable, upstreamsOfTable)
	if err != nil {
		t.Fatal(err)
	}
	stream := func(kv ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			h[kv[i]] = kv[i+1]
		}
		return h
	}
	for _, c := range []struct {
		why  string
		mail routed
		rule string
		want string // upstreams
	}{
		{"both keys fit", routed{from: "a@shop.example", to: "x@tax.gov.example"}, "both", "own"},
		{"... deeper", routed{from: "a@shop.example", to: "x@a.tax.gov.example"}, "both", "own"},
		{"the domain itself is no subdomain", routed{from: "a@shop.example", to: "x@gov.example"}, "rest",
			"ses own"},
		{"only the recipient fits", routed{from: "a@corp.example", to: "x@tax.gov.example"}, "rest",
			"m365 own"},
		{"an address", routed{from: "a@shop.example", to: "ceo@big.example"}, "vip", "ses own"},
		{"an address in other case", routed{from: "a@shop.example", to: "CEO@Big.Example"}, "vip", "ses own"},
		{"another address there", routed{from: "a@shop.example", to: "cfo@big.example"}, "rest", "ses own"},
		{"a domain", routed{from: "a@shop.example", to: "any@vip.example"}, "vip", "ses own"},
		{"a domain that ends alike", routed{from: "a@shop.example", to: "any@notvip.example"}, "rest",
			"ses own"},
		{"not a sender of ses", routed{from: "a@corp.example", to: "any@vip.example"}, "vip", "own"},
		{"a client", routed{from: "a@shop.example", to: "b@x.example", client: "crm"}, "crm", "sendgrid ses"},
		{"a client whose sender ses has not",
			routed{from: "a@corp.example", to: "b@x.example", client: "crm"},
			"crm", "sendgrid"},
		{"a client's name is compared whole",
			routed{from: "a@corp.example", to: "b@x.example", client: "crm2"},
			"rest", "m365 own"},
		{"... with case", routed{from: "a@corp.example", to: "b@x.example", client: "CRM"}, "rest",
			"m365 own"},
		{"earlier rules win", routed{from: "a@shop.example", to: "any@vip.example", client: "crm"}, "vip",
			"ses own"},
		{"a user", routed{from: "a@shop.example", to: "b@x.example", user: "app"}, "user", "ses"},
		{"another user of the rule", routed{from: "a@sub.shop.example", to: "b@x.example", user: "batch"},
			"user", "ses"},
		{"a rule without an upstream for the sender is passed over",
			routed{from: "a@corp.example", to: "b@x.example", user: "app"}, "rest", "m365 own"},
		{"an unknown user", routed{from: "a@corp.example", to: "b@x.example", user: "apps"}, "rest",
			"m365 own"},
		{"a header", routed{from: "a@corp.example", to: "b@x.example", headers: stream("x-stream", "bulk")},
			"header", "sendgrid"},
		{"a header that contains the text",
			routed{from: "a@corp.example", to: "b@x.example", headers: stream("x-stream", "our BULK mail")},
			"header", "sendgrid"},
		{"a header with another value",
			routed{from: "a@corp.example", to: "b@x.example", headers: stream("x-stream", "transactional")},
			"rest", "m365 own"},
		{"a header with any value",
			routed{from: "a@corp.example", to: "b@x.example", headers: stream("list-id", "<n>")},
			"any header", "sendgrid own"},
		{"a header that is empty",
			routed{from: "a@corp.example", to: "b@x.example", headers: stream("list-id", "")},
			"any header", "sendgrid own"},
		{"another header", routed{from: "a@corp.example", to: "b@x.example",
			headers: stream("list-unsubscribe", "x")},
			"rest", "m365 own"},
		{"all keys", routed{"a@corp.example", "b@x.example", "web", "u", stream("a", "1", "b", "2")},
			"all keys", "own"},
		{"all keys, the null sender", routed{"", "b@x.example", "web", "u", stream("a", "1", "b", "2")},
			"all keys", "own"},
		{"all but a client", routed{"a@corp.example", "b@x.example", "w", "u", stream("a", "1", "b", "2")},
			"rest", "m365 own"},
		{"all but a user", routed{"a@corp.example", "b@x.example", "web", "", stream("a", "1", "b", "2")},
			"rest", "m365 own"},
		{"all but one header", routed{"a@corp.example", "b@x.example", "web", "u", stream("a", "1")}, "rest",
			"m365 own"},
		{"all but a header's value",
			routed{"a@corp.example", "b@x.example", "web", "u", stream("a", "1", "b", "3")},
			"rest", "m365 own"},
		{"the null sender", routed{from: "", to: "b@x.example"}, "null", "own"},
		{"the null sender to a vip", routed{from: "", to: "b@vip.example"}, "vip", "ses own"},
		{"the null sender may go anywhere", routed{from: "", to: "b@x.example", client: "crm"}, "crm",
			"sendgrid ses"},
		{"no upstream of the rule may send for it", routed{from: "a@tenant.example", to: "b@x.example"},
			"rest", "own"},
		{"the rest", routed{from: "a@corp.example", to: "b@x.example"}, "rest", "m365 own"},
		{"the rest, an address that m365 has", routed{from: "boss@other.example", to: "b@x.example"}, "rest",
			"m365 own"},
		{"... and one that it has not", routed{from: "clerk@other.example", to: "b@x.example"}, "rest",
			"own"},
		{"a subdomain of ses's", routed{from: "a@news.shop.example", to: "b@x.example"}, "rest", "ses own"},
		{"a subdomain that m365 has not", routed{from: "a@sub.corp.example", to: "b@x.example"}, "rest",
			"own"},
		{"an internationalized domain", routed{from: "a@bücher.example", to: "b@x.example"}, "rest",
			"m365 own"},
		{"... in its ASCII form", routed{from: "a@xn--bcher-kva.example", to: "b@x.example"}, "rest",
			"m365 own"},
		{"no domain at all", routed{from: "root", to: "b@x.example"}, "rest", "own"},
		{"a quoted local part", routed{from: `"@corp.example"@evil.example`, to: "b@x.example"}, "rest",
			"own"},
	} {
		got := r.Route(c.mail.message(), 0)
		if got.Rule != c.rule || strings.Join(got.Upstreams, " ") != c.want {
			t.Errorf("%s: rule %q, %v; want %q, %s", c.why, got.Rule, got.Upstreams, c.rule, c.want)
		}
		if got.Reason == "" {
			t.Errorf("%s: no reason", c.why)
		}
	}
	if want := []string{"a", "b", "list-id", "x-stream"}; !slices.Equal(r.Headers(), want) {
		t.Errorf("headers %q, want %q", r.Headers(), want)
	}
}

// TestRouteWithoutCandidate: mail that no upstream may send for has no way, and the reason says so.
func TestRouteWithoutCandidate(t *testing.T) {
	r, err := NewRouter([]Rule{{Name: "all", Upstreams: []string{"a", "b"}}}, []Candidate{
		{Name: "a", Domains: []string{"@a.example"}}, {Name: "b", Domains: []string{"@b.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Route(routed{from: "x@c.example", to: "y@z.example"}.message(), 0)
	if len(got.Upstreams) != 0 || got.Fallback != "a" || !strings.Contains(got.Reason, "x@c.example") {
		t.Errorf("%+v", got)
	}
	if got := r.Route(routed{from: "", to: "y@z.example"}.message(), 0); len(got.Upstreams) != 2 {
		t.Errorf("the null sender: %+v", got)
	}
}

func TestRouterMistakes(t *testing.T) {
	up := []Candidate{{Name: "a"}}
	for _, c := range []struct {
		rules []Rule
		want  string
	}{
		{nil, "there is no route"},
		{[]Rule{{Name: "x", Clients: []string{"c"}, Upstreams: []string{"a"}}},
			"x: the last route must have no conditions"},
		{[]Rule{{Name: "x", Upstreams: []string{"a"}}, {Name: "y", Upstreams: []string{"a"}}},
			"x: a route without conditions"},
		{[]Rule{{Name: "x", Upstreams: []string{"b"}}}, `x: there is no upstream "b"`},
		{[]Rule{{Name: "x"}}, "x: name at least one upstream"},
	} {
		if _, err := NewRouter(c.rules, up); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// splitOf counts which upstream comes first for many pairs of domains.
func splitOf(t *testing.T, us []Candidate) (first map[string]int, of map[string]string) {
	t.Helper()
	var names []string
	for _, u := range us {
		names = append(names, u.Name)
	}
	r, err := NewRouter([]Rule{{Name: "all", Upstreams: names}}, us)
	if err != nil {
		t.Fatal(err)
	}
	first, of = map[string]int{}, map[string]string{}
	for i := range 10000 {
		to := fmt.Sprintf("x@d%d.example", i)
		got := r.Route(routed{from: "a@s.example", to: to}.message(), 0).Upstreams
		if again := r.Route(routed{from: "b@S.example", to: "y" + to}.message(), 0).
			Upstreams; !slices.Equal(got, again) {
			t.Fatalf("%v and %v for the same two domains", got, again)
		}
		first[got[0]]++
		of[to] = got[0]
	}
	return first, of
}

// TestSplit: the parts are in proportion to the weights, and a weight that grows only takes from the others.
func TestSplit(t *testing.T) {
	us := []Candidate{{Name: "a", Weight: 70}, {Name: "b", Weight: 30}, {Name: "rest"}}
	first, before := splitOf(t, us)
	if a := first["a"]; a < 6800 || a > 7200 || first["rest"] != 0 {
		t.Errorf("of 10,000 a takes %d, want about 7,000; rest takes %d", a, first["rest"])
	}
	us[1].Weight = 50
	_, after := splitOf(t, us)
	for to, was := range before {
		if was == "b" && after[to] != "b" {
			t.Errorf("%s went from b to %s though b's weight grew", to, after[to])
		}
	}
}

// manyDomains is a Router of ten upstreams and ten thousand sender domains, and a message that takes the last
// route.
func manyDomains(tb testing.TB) (*Router, *relay.Message) {
	tb.Helper()
	var us []Candidate
	var rules []Rule
	for u := range 10 {
		c := Candidate{Name: fmt.Sprint("u", u)}
		for d := range 1000 {
			c.Domains = append(c.Domains, fmt.Sprintf("@d%d-%d.example", u, d))
		}
		us = append(us, c)
		if u < 9 {
			rules = append(rules, Rule{Name: c.Name, Senders: c.Domains, Upstreams: []string{c.Name}})
		}
	}
	rules = append(rules, Rule{Name: "rest", Upstreams: []string{"u9"}})
	r, err := NewRouter(rules, us)
	if err != nil {
		tb.Fatal(err)
	}
	return r, routed{from: "a@d9-500.example", to: "x@y.example"}.message()
}

// TestRouteIsCheap: the addresses of a message are looked at once, however many routes there are.
func TestRouteIsCheap(t *testing.T) {
	r, m := manyDomains(t)
	if got := r.Route(m, 0); got.Rule != "rest" || !slices.Equal(got.Upstreams, []string{"u9"}) {
		t.Fatalf("%+v", got)
	}
	if n := testing.AllocsPerRun(100, func() { r.Route(m, 0) }); n > 5 {
		t.Errorf("%v allocations a message", n)
	}
}

func BenchmarkRoute(b *testing.B) {
	r, m := manyDomains(b)
	b.ReportAllocs()
	for b.Loop() {
		r.Route(m, 0)
	}
}
