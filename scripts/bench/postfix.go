package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"mailwhy/relay/smtptest"
)

// postfix is Debian's Postfix, unpacked and not installed.
type postfix struct{ root string }

func (p *postfix) name() string { return "postfix" }

// The accounts that Postfix runs under: any two that are different, not root's and not in use by anything
// else here.
const (
	postfixUser  = "mail"
	postfixGroup = "operator"
)

// unpackPostfix takes the packages from a directory, or downloads them with apt-get, and unpacks them.
func unpackPostfix(ctx context.Context, dir, packages string) (relay, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("postfix is %w: it needs root", errUnavailable)
	}
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if packages == "" {
		packages = dir
		if err := download(ctx, dir); err != nil {
			return nil, fmt.Errorf("postfix is %w: %v", errUnavailable, err)
		}
	}
	debs, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, deb := range debs {
		fmt.Println("unpacking", filepath.Base(deb))
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w\n%s", deb, err, out)
		}
	}
	p := &postfix{root}
	if _, err := os.Stat(p.path("usr/lib/postfix/sbin/master")); err != nil {
		return nil, fmt.Errorf("postfix is %w: %v", errUnavailable, err)
	}
	return p, nil
}

// download gets Postfix's package, and those of the libraries that it needs and that are not installed.
func download(ctx context.Context, dir string) error {
	if err := aptGet(ctx, dir, "postfix"); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "postfix_*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get downloaded no package: %v", err)
	}
	depends, err := exec.CommandContext(ctx, "dpkg-deb", "-f", debs[0], "Depends").Output()
	if err != nil {
		return err
	}
	var missing []string
	for _, name := range regexp.MustCompile(`\blib[a-z0-9.+-]+`).FindAllString(string(depends), -1) {
		if exec.CommandContext(ctx, "dpkg-query", "-W", name).Run() != nil {
			missing = append(missing, name)
		}
	}
	return aptGet(ctx, dir, missing...)
}

// aptGet downloads packages into a directory.
func aptGet(ctx context.Context, dir string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	get := exec.CommandContext(ctx, "apt-get", append([]string{"download"}, names...)...)
	get.Dir = dir
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	return nil
}

func (p *postfix) path(name string) string { return filepath.Join(p.root, name) }

// libraries are where the unpacked shared libraries lie.
func (p *postfix) libraries() string {
	return strings.Join(
		[]string{
			p.path("usr/lib/postfix"), p.path("usr/lib/x86_64-linux-gnu"),
			p.path("usr/lib/aarch64-linux-gnu"), p.path("lib/x86_64-linux-gnu"),
		},
		":",
	)
}

func (p *postfix) start(ctx context.Context, dir, upstream string, under []string) (*running, error) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		return nil, err
	}
	etc, err := p.configure(dir, addr, upstream)
	if err != nil {
		return nil, err
	}
	env := []string{"LD_LIBRARY_PATH=" + p.libraries(), "MAIL_CONFIG=" + etc}
	return launch(ctx, dir, addr, under, env, p.path("usr/lib/postfix/sbin/master"), "-c", etc, "-d")
}

// configure writes the configuration and makes the queue's directories.
func (p *postfix) configure(dir, addr, upstream string) (etc string, err error) {
	etc = filepath.Join(dir, "etc")
	queue, data := filepath.Join(dir, "queue"), filepath.Join(dir, "data")
	main := fmt.Sprintf(mainCF, p.path("usr/lib/postfix/sbin"), p.path("usr/sbin"), p.path("usr/lib/postfix"),
		etc, queue, data, postfixUser, postfixGroup, port(upstream))
	master := fmt.Sprintf(masterCF, addr)
	if err := os.Mkdir(etc, 0o755); err != nil {
		return "", err
	}
	for name, text := range map[string]string{"main.cf": main, "master.cf": master, "dynamicmaps.cf": ""} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return etc, makeQueue(queue, data)
}

// makeQueue makes the directories that post-install would.
func makeQueue(queue, data string) error {
	owner, err := user.Lookup(postfixUser)
	if err != nil {
		return err
	}
	group, err := user.LookupGroup(postfixGroup)
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(group.Gid)
	if err := os.Mkdir(queue, 0o755); err != nil {
		return err
	}
	private := []string{
		"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved",
		"trace",
	}
	for _, name := range private {
		if err := ownedDir(filepath.Join(queue, name), uid, 0, 0o700); err != nil {
			return err
		}
	}
	if err := ownedDir(filepath.Join(queue, "pid"), 0, 0, 0o755); err != nil {
		return err
	}
	if err := ownedDir(filepath.Join(queue, "maildrop"), uid, gid, 0o730); err != nil {
		return err
	}
	if err := ownedDir(filepath.Join(queue, "public"), uid, gid, 0o710); err != nil {
		return err
	}
	return ownedDir(data, uid, 0, 0o700)
}

// ownedDir makes a directory with an owner and a mode.
func ownedDir(name string, uid, gid int, mode os.FileMode) error {
	if err := os.Mkdir(name, mode); err != nil {
		return err
	}
	if err := os.Chown(name, uid, gid); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// mainCF is Postfix's configuration: what a relay on loopback needs, a size limit that lets the largest case
// through, and defaults for all else.
const mainCF = `compatibility_level = 3.6
daemon_directory = %s
command_directory = %s
shlib_directory = %s
meta_directory = %s
queue_directory = %s
data_directory = %s
mail_owner = %s
setgid_group = %s
relayhost = [127.0.0.1]:%d
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
myhostname = relay.bench.test
mydestination =
local_recipient_maps =
local_transport = error:no local delivery
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
message_size_limit = 52428800
`

// masterCF is Debian's, without what a relay on loopback does not use, and without chroot.
const masterCF = `%s inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
`
