package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailwhy/relay"
	"mailwhy/relay/spool/database"
	"mailwhy/relay/spool/files"
)

// envPrivate names the directory in the process that underUmask0 starts.
const envPrivate = "MAILWHY_TEST_PRIVATE"

// underUmask0 runs the test t once more in a process of its own, which has the umask 000, and returns how it
// ended and what it wrote. A umask belongs to a whole process: here it would open the files of all the tests
// that run beside.
func underUmask0(t *testing.T, dir string) (string, error) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), envPrivate+"="+dir)
	out, err := c.CombinedOutput()
	return string(out), err
}

// everybodysDir is a directory that everybody may write to, as /tmp is.
func everybodysDir(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

// onlyOurs looks at the mode of everything in a spool.
func onlyOurs(t *testing.T, dir, when string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return files.IgnoreMissing(err)
		}
		n++
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: %s has the mode %v, want %v", when, path[len(dir):], got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFilesAreOursAlone lives through a spool's life under umask 000 in a directory that everybody may write
// to: no file of it is ever for others to read.
func TestFilesAreOursAlone(t *testing.T) {
	if dir := os.Getenv(envPrivate); dir != "" {
		unix.Umask(0)
		liveOnce(t, dir)
		return
	}
	dir := everybodysDir(t)
	if out, _ := underUmask0(t, dir); !strings.Contains(out, "killed now") ||
		strings.Contains(out, "--- FAIL") {
		t.Fatalf("the life that ends with kill -9:\n%s", out)
	}
	// Now the database is damaged, and will be salvaged.
	f, err := os.OpenFile(filepath.Join(dir, files.Database), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt(bytes.Repeat([]byte{0xa5}, 3*database.PageSize), 2*database.PageSize)
	f.Close()
	out, err := underUmask0(t, dir)
	if err != nil || !strings.Contains(out, "was salvaged") || !strings.Contains(out,
		`mode=1777 fix="chmod 0700 `) {
		t.Errorf("the life after it: %v\n%s", err, out)
	}
	if strings.Contains(out, "could be read") {
		t.Errorf("files were wide before the second start:\n%s", out)
	}
	onlyOurs(t, dir, "closed")
}

// liveOnce opens the spool in dir, puts it to use, and kills the process, or closes it when it has lived
// before.
func liveOnce(t *testing.T, dir string) {
	_, err := os.Stat(filepath.Join(dir, files.Database))
	first := err != nil
	s := openTest(t, Options{Dir: dir, Limits: Limits{Journal: 1 << 20, Reserve: 1 << 20}})
	onlyOurs(t, dir, "opened")
	want := map[string]string{}
	for i := range 20 {
		putContent(t, s, want, 40000*(i%5))
		if i%4 == 1 {
			settleOne(t, s, want, i%8 == 1)
		}
	}
	if n := onlyOurs(t, dir, "in use"); n < 9 {
		t.Errorf("only %d files were looked at", n)
	}
	if err := s.List(t.Context(), relay.QueueFilter{},
		func(*relay.Message) bool { return true }); err != nil {
		t.Error(err)
	}
	s.w.ops.do(t.Context(), &operation{apply: func(*database.Tx) error { return nil }})
	if err := truncateLogOf(s); err != nil {
		t.Error(err)
	}
	putContent(t, s, want, 100)
	onlyOurs(t, dir, "read")
	if first && !t.Failed() {
		fmt.Println("killed now")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// truncateLogOf has the log copied into the database, so that the damage that a test does to it is met.
func truncateLogOf(s *Spool) error {
	return s.read(func(c *database.Conn) error {
		b, err := database.Open(s.dir.File(files.Database), "mode=rw")
		if err != nil {
			return err
		}
		_, _, err = b.Integer("PRAGMA wal_checkpoint(PASSIVE)")
		return errors.Join(err, b.Close())
	})
}

// TestNarrowsWideFiles: files that others may read when the spool is opened are narrowed and named, files
// that are not the spool's are left alone.
func TestNarrowsWideFiles(t *testing.T) {
	im := makeImage(t, 40, false)
	foreign := filepath.Join(im.dir, "notes.txt")
	key := filepath.Join(im.dir, files.Key)
	for _, name := range []string{foreign, key} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wide := []string{files.Database, files.Database + "-wal", files.Journal, files.RunState, files.Lock,
		files.Key, "content"}
	for _, name := range wide {
		os.Chmod(filepath.Join(im.dir, name), 0o755)
	}
	large, err := filepath.Glob(filepath.Join(im.dir, files.Contents, "*"+files.ContentSuffix))
	if err != nil || len(large) == 0 {
		t.Fatalf("%v %v", large, err)
	}
	os.Chmod(large[0], 0o604)
	os.Chmod(im.dir, 0o750)
	var w watcher
	s := w.open(t, im.dir)
	defer s.Close()
	if info, err := os.Stat(foreign); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a file of somebody else was changed: %v, %v", info, err)
	}
	os.Remove(foreign)
	onlyOurs(t, im.dir, "narrowed")
	told := w.String()
	for _, name := range append(wide, filepath.Base(large[0])) {
		if !strings.Contains(told, name+" (0") {
			t.Errorf("%s is not named in the log:\n%s", name, told)
		}
	}
	if !strings.Contains(told, "mode=0750") {
		t.Errorf("nothing is said of the directory:\n%s", told)
	}
	if kept, _, _ := w.account(t, s, im.want); kept != len(im.want) {
		t.Errorf("%d of %d messages were kept", kept, len(im.want))
	}
}

// TestQuietAboutPrivateSpools: nothing is said of a spool that is the owner's alone.
func TestQuietAboutPrivateSpools(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	dir := filepath.Join(t.TempDir(), "spool")
	for range 2 {
		if err := openTest(t, Options{Dir: dir, Log: log}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if b.Len() > 0 {
		t.Errorf("the log has %s", b.String())
	}
}
