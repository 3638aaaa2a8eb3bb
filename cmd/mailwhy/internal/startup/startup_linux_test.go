package startup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOfFile: only what is the file's, cannot be written to, and was not written to either, is given back.
func TestOfFile(t *testing.T) {
	entry := func(head string, anonymous, swap int) string {
		const form = "%s\nSize: 8 kB\nAnonymous: %d kB\nSwap: %d kB\nVmFlags: rd ex mr\n"
		return fmt.Sprintf(form, head, anonymous, swap)
	}
	smaps := entry("00400000-00500000 r-xp 00000000 fe:00 1    /bin/mailwhy", 0, 0) +
		entry("00500000-00600000 r--p 00100000 fe:00 1    /bin/mailwhy", 0, 0) +
		entry("00600000-00610000 r--p 00200000 fe:00 1    /bin/mailwhy", 4, 0) +
		entry("00610000-00620000 r--p 00200000 fe:00 1    /bin/mailwhy", 0, 4) +
		entry("00620000-00630000 rw-p 00200000 fe:00 1    /bin/mailwhy", 0, 0) +
		entry("00630000-00640000 r--p 00000000 fe:00 2    /lib/libc.so", 0, 0) +
		entry("00640000-00650000 rw-p 00000000 00:00 0", 0, 0) +
		entry("ff600000-ff601000 r--p 00000000 fe:00 1    /bin/mailwhy (deleted)", 0, 0) +
		entry("a0000000-a0100000 r--p 00100000 fe:00 1    /bin/mailwhy", 0, 0)
	want := []mapping{{0x400000, 0x500000}, {0x500000, 0x600000}, {0xa0000000, 0xa0100000}}
	if got := ofFile([]byte(smaps), "/bin/mailwhy"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	const nonsense = "x\n\nAnonymous: 4 kB\nz-y r-xp 0 0 0 /bin/mailwhy\n"
	if got := ofFile([]byte(nonsense), "/bin/mailwhy"); got != nil {
		t.Errorf("of nonsense: %x", got)
	}
}

// resident is how many bytes of files a process has mapped.
func resident(t *testing.T) (kB int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Skip("this system does not tell")
	}
	fmt.Sscan(string(m[1]), &kB)
	return kB
}

// TestForget: the pages of the program go, and the program works as before.
func TestForget(t *testing.T) {
	hash := func() string {
		sum := sha256.Sum256([]byte("mail"))
		return hex.EncodeToString(sum[:])
	}
	want := hash()
	touched(t)
	before := resident(t)
	Forget()
	after := resident(t)
	if after > before*3/4 { // what runs now comes back at once
		t.Errorf("%d kB of files are resident, %d before", after, before)
	}
	if got := hash(); got != want {
		t.Errorf("hashed to %s, was %s", got, want)
	}
}

// touched maps the program whole, as a start that runs through it would.
func touched(t *testing.T) {
	t.Helper()
	own, _ := os.Readlink("/proc/self/exe")
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip("this system does not tell")
	}
	for _, m := range ofFile(smaps, own) {
		unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_POPULATE_READ)
	}
}
