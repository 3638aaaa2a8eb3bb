// Package volume tells whether what is written to a directory outlives the container, and whose the directory
// is. The engine asks at its start: mail that was answered with 250 must not go with a container.
//
// A file system's type is not enough: an anonymous volume of Docker is ext4, as a named one is, and goes with
// docker run --rm. The root of the mount tells (proc_pid_mountinfo(5)).
package volume

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Mount is a line of /proc/self/mountinfo.
type Mount struct {
	Root  string // within the file system: the directory of the host that is mounted
	Point string // where it is mounted
	Type  string // of the file system
}

// Holding is the mount that holds dir, an absolute path; ok is false where there is none.
func Holding(mountinfo io.Reader, dir string) (m Mount, ok bool) {
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		one, valid := parse(lines.Text())
		// A later mount at the same point hides the earlier one.
		if valid && below(dir, one.Point) && len(one.Point) >= len(m.Point) {
			m, ok = one, true
		}
	}
	return m, ok
}

// parse reads one line: id, parent, device, root, mount point, options, optional fields, "-", type, ...
func parse(line string) (m Mount, ok bool) {
	before, after, found := strings.Cut(line, " - ")
	fields, kind := strings.Fields(before), strings.Fields(after)
	if !found || len(fields) < 6 || len(kind) < 1 {
		return m, false
	}
	return Mount{Root: unescape(fields[3]), Point: unescape(fields[4]), Type: kind[0]}, true
}

// unescape undoes the escapes of a path: blanks and the backslash, in octal.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// below reports whether dir is point or in it.
func below(dir, point string) bool {
	return point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
}

// anonymous is the root of a volume that Docker or Podman made because none was named.
var anonymous = regexp.MustCompile(`/volumes/[0-9a-f]{64}/_data(/|$)`)

// Loss is why what a mount holds does not last.
type Loss struct {
	Where string // what the directory is in
	When  string // when it is lost
	Mend  string
}

const nameOne = "name a volume: docker run -v mailwhy-spool:/spool, or volumes: of compose"

// Loss says when what the mount holds is lost; nil where it lasts, as far as the mount tells.
func (m Mount) Loss() *Loss {
	switch {
	case anonymous.MatchString(m.Root):
		return &Loss{"an anonymous volume",
			"docker run --rm and docker rm -v delete it, and the next container gets a new one", nameOne}
	case strings.Contains(m.Root, "kubernetes.io~empty-dir"):
		return &Loss{"an emptyDir", "it goes with the pod",
			"use a persistentVolumeClaim, or drain for long enough (shutdown_drain)"}
	case m.Type == "overlay":
		return &Loss{"the container's own layer (overlay)", "it goes with the container", nameOne}
	case m.Type == "tmpfs", m.Type == "ramfs":
		return &Loss{"memory (" + m.Type + ")",
			"it goes with the container, the pod or a restart of the machine",
			"put it on a disk: a named volume, or a directory of the host"}
	}
	return nil
}

// Look finds the mount of a directory, which need not be there yet. ok is false where the system does not
// tell.
func Look(dir string) (m Mount, ok bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return m, false
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return m, false
	}
	defer f.Close()
	return Holding(f, existing(dir))
}

// existing is the nearest directory above dir that is there, without symbolic links.
func existing(dir string) string {
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return real
		}
	}
	return dir
}
