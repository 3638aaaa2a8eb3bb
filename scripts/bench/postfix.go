package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"mailwhy/relay/smtptest"
	debian "mailwhy/relay/smtptest/postfix"
)

// postfix is Debian's Postfix, unpacked and not installed.
type postfix struct{ root string }

func (p *postfix) name() string { return "postfix" }

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

func (p *postfix) start(ctx context.Context, dir, upstream string, under []string) (*running, error) {
	addr, err := smtptest.FreeAddr()
	if err != nil {
		return nil, err
	}
	// The size limit lets the largest case through.
	args, env, err := debian.Configure(debian.Options{
		Root: p.root, Dir: dir, Addr: addr, Upstream: port(upstream),
		Main: "myhostname = relay.bench.test\nmynetworks = 127.0.0.0/8\nmessage_size_limit = 52428800\n",
	})
	if err != nil {
		return nil, err
	}
	return launch(ctx, dir, addr, under, env, args...)
}
