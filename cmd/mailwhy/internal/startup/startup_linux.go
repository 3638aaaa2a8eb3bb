package startup

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Forget gives back to the system the garbage of the start, and unmaps the program's own pages: reading the
// configuration and the rules runs through most of them once. What is needed again comes back, a page at a
// time, from the system's cache of the file. Where something is in the way it does less.
func Forget() {
	debug.FreeOSMemory()
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range ofFile(smaps, own) {
		unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// ofFile are the mappings in a /proc/PID/smaps (proc_pid_smaps(5)) that have what is in the file and nothing
// else: nobody can write to them, and nobody has. A page that was written to, as those that a dynamic linker
// relocates, is the process's own (Anonymous, or Swap), and would be lost.
func ofFile(smaps []byte, file string) (list []mapping) {
	fits := false // the mapping that the line is about is the last of the list
	for line := range bytes.Lines(smaps) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) < 3:
		case !strings.HasSuffix(fields[0], ":"):
			m, ok := readOnly(fields, file)
			if fits = ok; ok {
				list = append(list, m)
			}
		case fits && (fields[0] == "Anonymous:" || fields[0] == "Swap:") && fields[1] != "0":
			list, fits = list[:len(list)-1], false
		}
	}
	return list
}

// readOnly is the mapping of a line that begins one, if it is of the file and for reading only.
func readOnly(fields []string, file string) (mapping, bool) {
	if len(fields) != 6 || fields[5] != file || !strings.HasPrefix(fields[1], "r-") {
		return mapping{}, false
	}
	low, high, _ := strings.Cut(fields[0], "-")
	from, err := strconv.ParseUint(low, 16, 64)
	to, err2 := strconv.ParseUint(high, 16, 64)
	return mapping{uintptr(from), uintptr(to)}, err == nil && err2 == nil && from < to
}
