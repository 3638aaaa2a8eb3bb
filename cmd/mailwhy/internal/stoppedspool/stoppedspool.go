// Package stoppedspool opens a spool for commands that change it while no relay runs on it.
package stoppedspool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"mailwhy/config"
	"mailwhy/relay/app/options"
	spool "mailwhy/relay/spool/sqlite"
)

// Use opens the spool of a configuration, calls do with it, and closes it. It refuses a spool that a relay
// runs on, and one of another user. What the spool has to say goes to stderr.
func Use(cfg *config.Config, stderr io.Writer, do func(*spool.Spool) error) (err error) {
	if cfg.Spool.Shared() {
		return fmt.Errorf("this command knows the embedded spool only, and spool.engine is %q",
			cfg.Spool.Engine)
	}
	if err := isOwn(cfg.Spool.Dir); err != nil {
		return err
	}
	s, err := spool.Open(options.Spool(cfg, slog.New(slog.NewTextHandler(stderr, nil))))
	if errors.Is(err, spool.ErrInUse) {
		return fmt.Errorf("stop the relay that runs on the spool first: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s)
}

// isOwn refuses to write to another user's spool as root: the relay could not open the files that come to be.
func isOwn(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no spool at %s: name the relay with -c or --spool; a new one begins "+
			"with a directory that belongs to the relay's user", dir)
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() == 0 && st.Uid != 0 {
		return fmt.Errorf("the spool %s belongs to the user with the uid %d: "+
			"run this as that user, with sudo -u '#%d' for instance", dir, st.Uid, st.Uid)
	}
	return nil
}
