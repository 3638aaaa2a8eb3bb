package files

import (
	"path/filepath"
	"testing"
)

func TestEphemeral(t *testing.T) {
	if fs, ephemeral := Ephemeral(filepath.Join("/dev/shm", "not", "there")); fs == "tmpfs" && !ephemeral {
		t.Errorf("/dev/shm is %s, ephemeral %v", fs, ephemeral)
	}
	if fs, ephemeral := Ephemeral("/proc"); ephemeral || fs == "" {
		t.Errorf("/proc is %q, ephemeral %v", fs, ephemeral)
	}
}
