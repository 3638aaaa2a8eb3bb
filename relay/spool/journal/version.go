package journal

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"mailwhy/relay/spool/files"
)

// LatestVersion is the latest format of a journal in dir, by its first page or, where that is damaged, its
// name.
func LatestVersion(dir string) (version int64, err error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(dir), files.Journal1+"*"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, ok, err := firstPageVersion(name)
		if err != nil {
			return 0, err
		}
		if !ok {
			n = nameVersion(filepath.Base(name))
		}
		version = max(version, n)
	}
	return version, nil
}

// nameVersion is the format that the name of a journal says: journal-N. A large number is somebody's copy,
// with the date perhaps.
func nameVersion(name string) int64 {
	n, err := strconv.ParseInt(strings.TrimPrefix(name, files.Journal1+"-"), 10, 64)
	if err != nil || n > 1000 {
		return 0
	}
	return n
}

// escapeGlob escapes what a pattern would take for more than a letter.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// firstPageVersion is the format in the first page of a journal; ok is false when that is damaged.
func firstPageVersion(name string) (version int64, ok bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false, files.IgnoreMissing(err)
	}
	defer f.Close()
	page := make([]byte, PageSize)
	if _, err := io.ReadFull(f, page); err != nil {
		return 0, false, nil
	}
	version, _, ok = parseFirstPage(page)
	return version, ok, nil
}
