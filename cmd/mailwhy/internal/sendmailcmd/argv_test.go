package sendmailcmd

import (
	"reflect"
	"strings"
	"testing"
)

// TestParse is what the callers of sendmail pass, by their sources or by having been run.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		caller, args string // "''" is an empty argument
		want         call
	}{
		{"cron of Debian", "-FCronDaemon -i -B8BITMIME -oem root",
			call{name: "CronDaemon", ignoreDots: true, to: []string{"root"}}},
		{"cron of Red Hat", "-FCronDaemon -i -odi -oem -oi -t -f root",
			call{name: "CronDaemon", ignoreDots: true, fromHeader: true, from: "root", fromSet: true}},
		{"at", "-i root", call{ignoreDots: true, to: []string{"root"}}},
		{"mdadm, smartd", "-t", call{fromHeader: true}},
		{"mutt", "-oem -oi -f me@x.test -- a@y.test b@y.test",
			call{ignoreDots: true, from: "me@x.test", fromSet: true, to: []string{"a@y.test", "b@y.test"}}},
		{"mutt with dsn_notify", "-oem -oi -N failure,delay -R hdrs -- a@y.test",
			call{ignoreDots: true, notify: "FAILURE,DELAY", ret: "HDRS", to: []string{"a@y.test"}}},
		{"PHP", "-t -i", call{fromHeader: true, ignoreDots: true}},
		{"PHP with -f", "-t -i -fshop@x.test",
			call{fromHeader: true, ignoreDots: true, from: "shop@x.test", fromSet: true}},
		{"PHPMailer", "-oi -fshop@x.test -t",
			call{fromHeader: true, ignoreDots: true, from: "shop@x.test", fromSet: true}},
		{"git send-email, nodemailer", "-i -f me@x.test a@y.test b@y.test",
			call{ignoreDots: true, from: "me@x.test", fromSet: true, to: []string{"a@y.test", "b@y.test"}}},
		{"fail2ban", "-t -f <fail2ban@x.test>",
			call{fromHeader: true, from: "<fail2ban@x.test>", fromSet: true}},
		{"fail2ban of old", "-f <fail2ban@x.test> <root@y.test>",
			call{from: "<fail2ban@x.test>", fromSet: true, to: []string{"<root@y.test>"}}},
		{"logwatch", "-t -oi", call{fromHeader: true, ignoreDots: true}},
		{"Symfony, Laravel", "-bs", call{mode: session}},
		{"Symfony, with -t", "-t -i -fshop@x.test",
			call{fromHeader: true, ignoreDots: true, from: "shop@x.test", fromSet: true}},
		{"bsd-mailx", "-i -t", call{ignoreDots: true, fromHeader: true}},
		{"s-nail", "-i -r me@x.test -- a@y.test",
			call{ignoreDots: true, from: "me@x.test", fromSet: true, to: []string{"a@y.test"}}},
		{"Django, WordPress by -ti", "-ti", call{fromHeader: true, ignoreDots: true}},
		{"Exim's macros", "-oMr local -oMs host.test -bm root", call{to: []string{"root"}}},
		{"sendmail's macros", "-oMrlocal -oMshost.test root", call{to: []string{"root"}}},
		{"a macro before a recipient", "-oMr root@x.test", call{to: []string{"root@x.test"}}},
		{"the null sender", "-f <> root", call{from: "<>", fromSet: true, to: []string{"root"}}},
		{"an empty sender", "-f '' root", call{fromSet: true, to: []string{"root"}}},
		{"values apart", "-F Joe -r a@x.test -N never -R full -V id7 -B 8BITMIME -O x=y -o db -h 3 -L tag " +
			"-p smtp -X log -A c -D log -e m -M id -C f.toml root",
			call{name: "Joe", from: "a@x.test", fromSet: true, notify: "NEVER", ret: "FULL", envID: "id7",
				config: "f.toml", to: []string{"root"}}},
		{"values attached", "-FJoe -ra@x.test -Nnever -Rfull -Vid7 -B8BITMIME -Ox=y -odb -h3 -Cf.toml root",
			call{name: "Joe", from: "a@x.test", fromSet: true, notify: "NEVER", ret: "FULL", envID: "id7",
				config: "f.toml", to: []string{"root"}}},
		{"what nobody knows", "-G -U -n -m -s -x -Z -d0-99.1 --what --ever=1 -E root",
			call{to: []string{"root"}}},
		{"letters together", "-vtif a@x.test",
			call{verbose: true, fromHeader: true, ignoreDots: true, from: "a@x.test", fromSet: true}},
		{"the queue", "-bp", call{mode: queue}},
		{"the queue, apart", "-b p -v", call{mode: queue, verbose: true}},
		{"flush", "-q", call{mode: flush}},
		{"flush, as init scripts do", "-q30m -oi", call{mode: flush, ignoreDots: true}},
		{"newaliases", "-bi", call{mode: aliases}},
		{"help", "--help", call{mode: help}},
		{"a relay", "--relay unix:/s --relay=h:25 root", call{relay: "h:25", to: []string{"root"}}},
	} {
		t.Run(tt.caller, func(t *testing.T) {
			args := strings.Fields(tt.args)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			got, err := parse(args)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want.mode == 0 {
				tt.want.mode = deliver
			}
			if tt.want.to == nil {
				tt.want.to = []string{}
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestParseMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"-f":           "-f needs a value",
		"-bd -q30m":    "mailwhy serve",
		"-bt":          "-bt is not supported",
		"root -f a@x":  "flags go before them",
		"-i root -oem": "flags go before them",
		"-i -- -i":     "flags go before them",
	} {
		if got, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v", args, got, err)
		}
	}
}

func TestArgsByName(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/sbin/sendmail": "sendmail -t", "mailq": "sendmail -bp -t",
		"/usr/bin/newaliases": "sendmail -bi -t", "/usr/local/bin/mailwhy": "-t",
	} {
		if got := strings.Join(Args(program, []string{"-t"}), " "); got != want {
			t.Errorf("%s: got %s", program, got)
		}
	}
}
