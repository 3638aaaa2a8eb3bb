package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Lines as they were in real containers and pods.
const (
	overlay = "1129 1045 0:133 / / rw,relatime master:460 - overlay overlay rw,lowerdir=/var/lib/docker/" +
		"overlay2/l/QJ:/var/lib/docker/overlay2/l/ZX,upperdir=/u,workdir=/w\n"
	anonymousLine = "1155 1129 8:1 /var/lib/docker/volumes/9f1d5c0b7a3e4d2f8b6a1c0d9e8f7a6b5c4d3e2f1a0b9c8" +
		"d7e6f5a4b3c2d1e0f/_data /spool rw,relatime master:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
	named = "1155 1129 8:1 /var/lib/docker/volumes/shop_spool/_data /spool rw,relatime master:1 - ext4 " +
		"/dev/sda1 rw\n"
	podman = "612 590 0:45 /home/u/.local/share/containers/storage/volumes/" +
		"9f1d5c0b7a3e4d2f8b6a1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f/_data /spool rw - btrfs /dev/x rw\n"
	bind     = "1155 1129 8:1 /srv/my\\040mail /spool rw,relatime - ext4 /dev/sda1 rw\n"
	emptyDir = "2210 2199 259:1 /var/lib/kubelet/pods/0b1f6a5e-22c3-4d0e-9a51-6f8b0d8e2c11/volumes/" +
		"kubernetes.io~empty-dir/spool /spool rw,relatime - ext4 /dev/nvme0n1p1 rw\n"
	claim = "2210 2199 259:3 / /spool rw,relatime - ext4 /dev/nvme1n1 rw\n"
	nfs   = "2210 2199 0:61 /export/a /spool rw,relatime shared:7 - nfs4 10.0.0.5:/export rw,vers=4.2\n"
	tmpfs = "1160 1129 0:140 / /spool rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=65536k\n"
	deep  = "1161 1129 8:1 /var/lib/docker/volumes/data/_data /spool/inner rw - ext4 /dev/sda1 rw\n"
)

func TestLoss(t *testing.T) {
	for _, tt := range []struct {
		name, lines, dir, where string
	}{
		{"no volume", overlay, "/spool", "overlay"},
		{"an anonymous volume", overlay + anonymousLine, "/spool", "anonymous"},
		{"below an anonymous volume", overlay + anonymousLine, "/spool/a/b", "anonymous"},
		{"an anonymous volume of Podman", overlay + podman, "/spool", "anonymous"},
		{"a named volume", overlay + named, "/spool", ""},
		{"a directory of the host", overlay + bind, "/spool", ""},
		{"beside the volume", overlay + named, "/spools", "overlay"},
		{"an emptyDir", overlay + emptyDir, "/spool", "emptyDir"},
		{"a claim", overlay + claim, "/spool", ""},
		{"NFS", overlay + nfs, "/spool", ""},
		{"tmpfs", overlay + tmpfs, "/spool", "memory"},
		{"an emptyDir in memory hides nothing", overlay + named + tmpfs, "/spool", "memory"},
		{"a volume within tmpfs", overlay + tmpfs + deep, "/spool/inner/x", ""},
		{"a line that is cut", overlay + "1155 1129 8:1 /x /spool rw\n", "/spool", "overlay"},
	} {
		m, ok := Holding(strings.NewReader(tt.lines), tt.dir)
		if !ok {
			t.Errorf("%s: no mount", tt.name)
			continue
		}
		loss := m.Loss()
		if (loss == nil) != (tt.where == "") || loss != nil && !strings.Contains(loss.Where, tt.where) {
			t.Errorf("%s: %+v is lost: %+v, want %q", tt.name, m, loss, tt.where)
		}
	}
	if m, _ := Holding(strings.NewReader(overlay+bind), "/spool"); m.Root != "/srv/my mail" {
		t.Errorf("the root is %q", m.Root)
	}
	if _, ok := Holding(strings.NewReader(""), "/spool"); ok {
		t.Error("a mount in no mounts")
	}
}

// TestLook: this machine's own mounts, of a directory that is not there yet.
func TestLook(t *testing.T) {
	m, ok := Look(filepath.Join(t.TempDir(), "not", "there"))
	if !ok || m.Type == "" || !filepath.IsAbs(m.Point) {
		t.Errorf("%+v, %v", m, ok)
	}
}

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	denied := &fs.PathError{Op: "open", Path: filepath.Join(dir, "lock"), Err: syscall.EACCES}
	text := Explain(dir, denied).Error()
	for _, want := range []string{"permission denied", "mode 0750", "chown -R", dir, "belongs to uid "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	other := &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOSPC}
	if Explain(dir, other) != error(other) {
		t.Error("another error was changed")
	}
}
