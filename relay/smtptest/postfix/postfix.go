// Package postfix runs Debian's Postfix as a relay on loopback, from packages that were unpacked and not
// installed: for tests that compare ours with it, or hand it mail, and for scripts/bench.
// scripts/upstream-test.sh unpacks them and names the place in MAILWHY_SERVERS. It needs root.
package postfix

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mailwhy/relay/smtptest/process"
)

// Options say how a Postfix runs.
type Options struct {
	Root     string // where the packages were unpacked
	Dir      string // an empty directory that every account can enter, for all that it writes
	Addr     string // host:port that it listens on, in clear
	Upstream int    // the port on 127.0.0.1 that everything is relayed to
	Main     string // further lines of main.cf
	Master   string // further lines of master.cf
	Env      []string
}

// The accounts that it runs under: any two that every system has, different, and not root's.
const (
	owner = "mail"
	group = "operator"
)

// Start runs Postfix, and returns when it answers.
func Start(ctx context.Context, o Options) (*process.Process, error) {
	o.Main += "maillog_file = /dev/stdout\n"
	args, env, err := Configure(o)
	if err != nil {
		return nil, err
	}
	return process.Spec{
		Args: args, Env: append(env, o.Env...), Log: filepath.Join(o.Dir, "log"), Group: true,
	}.Start(ctx, 20*time.Second, func() bool { return process.Greets(o.Addr) })
}

// Configure writes the configuration and makes the directories of the queue, and returns the command that
// runs Postfix with them. It writes no log of its mail.
func Configure(o Options) (args, env []string, err error) {
	r := strings.NewReplacer("ROOT", o.Root, "DIR", o.Dir, "OWNER", owner, "GROUP", group, "ADDR", o.Addr,
		"UPSTREAM", strconv.Itoa(o.Upstream))
	etc := filepath.Join(o.Dir, "etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return nil, nil, err
	}
	for name, text := range map[string]string{
		"main.cf": r.Replace(mainCF) + o.Main, "master.cf": r.Replace(masterCF) + o.Master,
		"dynamicmaps.cf": "",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return nil, nil, err
		}
	}
	args = []string{filepath.Join(o.Root, "usr/lib/postfix/sbin/master"), "-c", etc, "-d"}
	return args, append(Libraries(o.Root), "MAIL_CONFIG="+etc), makeQueue(o.Dir)
}

// Libraries are variables that name those that were unpacked with the programs.
func Libraries(root string) []string {
	x86, arm := root+"/usr/lib/x86_64-linux-gnu", root+"/usr/lib/aarch64-linux-gnu"
	return []string{
		"LD_LIBRARY_PATH=" + root + "/usr/lib/postfix:" + x86 + ":" + arm,
		"SASL_PATH=" + x86 + "/sasl2:" + arm + "/sasl2",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	}
}

// makeQueue makes the directories that Postfix's installation would.
func makeQueue(dir string) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(g.Gid)
	type place struct {
		name     string
		uid, gid int
		mode     os.FileMode
	}
	places := []place{
		{"queue", 0, 0, 0o755}, {"queue/pid", 0, 0, 0o755}, {"queue/maildrop", uid, gid, 0o730},
		{"queue/public", uid, gid, 0o710}, {"data", uid, 0, 0o700},
	}
	for _, name := range []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
		"incoming", "private", "saved", "trace"} {
		places = append(places, place{"queue/" + name, uid, 0, 0o700})
	}
	for _, p := range places {
		if err := makeDir(filepath.Join(dir, p.name), p.uid, p.gid, p.mode); err != nil {
			return fmt.Errorf("postfix: %w", err)
		}
	}
	return nil
}

// makeDir makes a directory with an owner and a mode, whatever the umask.
func makeDir(name string, uid, gid int, mode os.FileMode) error {
	if err := os.Mkdir(name, mode); err != nil {
		return err
	}
	if err := os.Chown(name, uid, gid); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// mainCF is what a relay on loopback needs, and defaults for all else.
const mainCF = `compatibility_level = 3.6
daemon_directory = ROOT/usr/lib/postfix/sbin
command_directory = ROOT/usr/sbin
shlib_directory = ROOT/usr/lib/postfix
meta_directory = DIR/etc
queue_directory = DIR/queue
data_directory = DIR/data
mail_owner = OWNER
setgid_group = GROUP
import_environment = MAIL_CONFIG LD_LIBRARY_PATH SASL_PATH
mydestination =
local_recipient_maps =
local_transport = error:none
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:UPSTREAM
`

// masterCF is Debian's, without what a relay on loopback does not use, and without chroot.
const masterCF = `ADDR inet n - n - - smtpd
postlog   unix-dgram n  -       n       -       1       postlogd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
smtp      unix  -       -       n       -       -       smtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
`
