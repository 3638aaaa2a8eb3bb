package postgrestest

import (
	"bytes"
	"fmt"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// programs is where PostgreSQL is installed, and under which account it runs.
type programs struct {
	dir string
	as  *syscall.Credential // nil: this process's
}

// find looks in Debian's directories, newest version first, and in PATH.
func find() (programs, bool) {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	version := func(name string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(name))))
		return n
	}
	slices.SortFunc(all, func(a, b string) int { return version(b) - version(a) })
	if name, err := exec.LookPath("initdb"); err == nil {
		all = append(all, name)
	}
	for _, name := range all {
		if _, err := exec.LookPath(filepath.Join(filepath.Dir(name), "postgres")); err == nil {
			return programs{dir: filepath.Dir(name)}, true
		}
	}
	return programs{}, false
}

// drop chooses an account that is not root's.
func (p *programs) drop() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("no account to run PostgreSQL under: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// run runs one of the programs to its end, in a directory that it may enter.
func (p programs) run(dir, name string, args ...string) error {
	cmd := exec.Command(filepath.Join(p.dir, name), args...)
	cmd.Dir, cmd.Env = dir, environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// environment keeps what the developer set for psql away from the programs.
var environment = []string{"LC_ALL=C", "PATH=/usr/bin:/bin", "TZ=UTC"}
