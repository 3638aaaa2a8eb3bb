package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Explain adds to an error of permissions below dir whose the files are, who asked, and the command that
// mends it. Other errors stay what they are.
func Explain(dir string, err error) error {
	pe, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	path := pe.Path
	info, statErr := os.Stat(path)
	for statErr != nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		info, statErr = os.Stat(path)
	}
	if statErr != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return err
	}
	uid, gid := os.Geteuid(), os.Getegid()
	return fmt.Errorf("%w: %s belongs to uid %d, gid %d with mode %04o, and mailwhy runs as uid %d, gid %d: "+
		"chown -R %d:%d %s on the host, or run it as that user (docker run --user %d:%d), "+
		"or set fsGroup: %d in a pod",
		err, path, st.Uid, st.Gid, info.Mode().Perm(), uid, gid, uid, gid, dir, st.Uid, st.Gid, gid)
}
