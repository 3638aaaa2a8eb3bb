// Package build says what this program was built from, as the Go toolchain recorded it in the binary.
//
// What always holds: nothing is guessed. What the build did not record is empty, or "(devel)" for the
// version.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// tag is set by scripts/build.sh (-ldflags -X) where the toolchain cannot see the repository, as in an image.
var tag string

// Info is what a build is made of.
type Info struct {
	Version  string `json:"version"`            // v1.2.3, of a tag or module; "(devel)" without one
	Revision string `json:"revision,omitempty"` // the commit, in full
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // there were changes that were not committed
	Go       string `json:"go"`                 // go1.26.8
	Platform string `json:"platform"`           // linux/amd64
}

// Read is the information of the running program.
func Read() Info {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		bi = &debug.BuildInfo{}
	}
	return from(bi, tag)
}

// Version is Read().Version.
func Version() string { return Read().Version }

// from reads what the toolchain recorded. A tag that the build was given goes first.
func from(bi *debug.BuildInfo, tag string) Info {
	i := Info{Version: bi.Main.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	for _, s := range bi.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	if tag != "" {
		i.Version = tag
	}
	if i.Version == "" {
		i.Version = "(devel)"
	}
	return i
}

// String is the information in lines for people.
func (i Info) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mailwhy %s\n", i.Version)
	if i.Revision != "" {
		fmt.Fprintf(&b, "commit  %s of %s", i.Revision, i.Time)
		if i.Modified {
			b.WriteString(", with changes")
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "built   with %s for %s\n", i.Go, i.Platform)
	return b.String()
}
