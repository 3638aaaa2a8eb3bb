package socket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is also the process of TestModeFromTheFirstMoment, since a umask belongs to a whole process.
func TestMain(m *testing.M) {
	if path := os.Getenv("MAILWHY_TEST_SOCKET"); path != "" {
		os.Exit(bindWide(path))
	}
	os.Exit(m.Run())
}

// bindWide binds a socket as Listen does, but for the chmod after it, under umask 000. The exit status says
// what the file's mode is.
func bindWide(path string) int {
	unix.Umask(0)
	lc := net.ListenConfig{Control: control(0o600)}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return 3
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		return 4
	}
	return 0
}

// TestModeFromTheFirstMoment: bind itself makes the file with its mode, under umask 000 in a directory for
// everybody.
func TestModeFromTheFirstMoment(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "MAILWHY_TEST_SOCKET="+filepath.Join(dir, "s"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("status 4 is a wrong mode: %v %s", err, out)
	}
}

// TestListen: the file has its mode, is removed with its listener, and a dead one is replaced; a living one
// and other files are not.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		l, err := Listen(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("the mode is %v, want %v; %v", info.Mode(), mode, err)
		}
		if _, err := Listen(path, mode); !errors.Is(err, ErrInUse) {
			t.Errorf("a second listener: %v", err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(mode != 0o660) // as kill -9 leaves it
		l.Close()
		if _, err := os.Lstat(path); mode != 0o660 && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file outlives its listener: %v", err)
		}
	}
	if err := os.WriteFile(path, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600); err == nil {
		t.Error("a file of another kind is replaced")
	}
}
