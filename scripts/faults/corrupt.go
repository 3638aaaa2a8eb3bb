package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailwhy/relay/smtptest/process"
)

// damage is a way to destroy bytes of a file.
type damage struct {
	name string
	do   func(b []byte) []byte
}

// damages are what disks and careless hands do.
func damages() []damage {
	return []damage{
		{"a bit flipped", func(b []byte) []byte {
			b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
			return b
		}},
		{"a page zeroed", func(b []byte) []byte {
			at := rand.IntN(len(b)) / 4096 * 4096
			clear(b[at:min(at+4096, len(b))])
			return b
		}},
		{"a page torn", func(b []byte) []byte {
			at := rand.IntN(len(b)) / 4096 * 4096
			for i := at + 512*rand.IntN(8); i < min(at+4096, len(b)); i++ {
				b[i] = byte(rand.IntN(256))
			}
			return b
		}},
		{"its end cut off", func(b []byte) []byte { return b[:rand.IntN(len(b))] }},
		{"emptied", func([]byte) []byte { return nil }},
	}
}

// testCorrupt damages a spool while no relay runs: the database (after a kill, when much of it is in the
// write-ahead log, and after a stop, when all of it is in one file), the log, the journal, files of large
// contents, the file beside the database. All that is readable must arrive unchanged. What is not must be
// named in the log, or where its name is lost too, announced there as an error. The relay must start as it
// is.
func testCorrupt(ctx context.Context, s *site, r *result) {
	targets := []string{"database", "closed database", "wal", "journal", "content", "run state"}
	rounds := s.pick(1, 5)
	type round struct {
		target string
		damage damage
	}
	var all []round
	for range rounds {
		for _, target := range targets {
			for _, d := range damages() {
				if s.full || (target != "run state" && d.name != "emptied" && d.name != "a page torn") {
					all = append(all, round{target, d})
				}
			}
		}
	}
	var loud counter
	parallel(4, len(all), func(i int) {
		if ctx.Err() == nil {
			s.corruptOnce(ctx, r, all[i].target, all[i].damage, &loud)
			r.ran(1)
		}
	})
	r.note("%d kinds of damage; what happened to the recipients: %s", len(targets)*len(damages()), &loud)
}

// corruptOnce fills a spool, kills the relay, damages a file and starts it again.
func (s *site) corruptOnce(ctx context.Context, r *result, target string, d damage, seen *counter) {
	t := newScenario(s, r, "")
	t.client.Drops = false
	t.sink.Hold()
	t.start(ctx)
	loading, stop := context.WithCancel(ctx)
	wait := t.client.Load(loading, 3, time.Millisecond)
	t.until(ctx, 10*time.Second, func() bool { return t.ledger.Acked() >= 100 })
	stop()
	wait()
	t.kill()
	if target == "closed database" {
		t.closeInOrder(ctx)
	}
	what := t.corrupt(target, d)
	t.sink.Release()
	t.start(ctx)
	t.drain(ctx, 6*time.Second)
	t.stop()
	t.rules.Named = t.named()
	unnamed := 0
	if t.announced() {
		named := t.rules.Named
		t.rules.Named = func(queue string) bool {
			if !named(queue) {
				unnamed++
			}
			return true
		}
	}
	v := t.judge()
	seen.add("relayed or bounced", v.Arrived+v.Bounced)
	if named := v.Named - unnamed; named > 0 {
		seen.add("lost and named", named)
	}
	if unnamed > 0 {
		seen.add("lost with "+d.name+" of the "+target+" and announced without a name", unnamed)
	}
	if len(v.Broken) > 0 {
		r.fail("... that was %s of the %s (%s); the log ends: %s", d.name, target, what,
			process.Tail(t.setup.log()))
	}
}

// closeInOrder starts the relay without an upstream and stops it, so that the database is closed in order.
func (t *scenario) closeInOrder(ctx context.Context) {
	upstream := t.setup.upstream
	t.setup.upstream = "smtp://user@" + t.site.freePort() + "?tls=none"
	t.start(ctx)
	t.stop()
	t.setup.upstream = upstream
}

// corrupt damages one file of a kind, and says which.
func (t *scenario) corrupt(target string, d damage) string {
	patterns := map[string]string{"database": "*.db", "closed database": "*.db", "run state": "marks-*",
		"journal": "journal-*",
		"wal":     "*-wal", "content": "content*/*"}
	files, _ := filepath.Glob(filepath.Join(t.setup.spool, patterns[target]))
	if target == "content" {
		deeper, _ := filepath.Glob(filepath.Join(t.setup.spool, "content*/*/*"))
		files = append(files, deeper...)
	}
	var able []string
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
			able = append(able, f)
		}
	}
	if len(able) == 0 {
		return "there was none"
	}
	name := able[rand.IntN(len(able))]
	b := readFile(name)
	size := len(b)
	if target == "journal" {
		b = usedPart(b)
	}
	must(os.WriteFile(name, d.do(b), 0o600), "damaging a file")
	return fmt.Sprintf("%s, %d bytes", filepath.Base(name), size)
}

// usedPart is b up to the last page that is not zero: damage behind it would test nothing.
func usedPart(b []byte) []byte {
	used := len(bytes.TrimRight(b, "\x00"))
	return b[:max((used+4095)/4096*4096, min(4096, len(b)))]
}

// announced reports whether the operational log says, as an error, that the spool is damaged.
func (t *scenario) announced() bool {
	for line := range strings.Lines(string(readFile(t.setup.log()))) {
		if !strings.Contains(line, "level=ERROR") {
			continue
		}
		for _, word := range []string{"damage", "corrupt", "missing", "malformed", "salvage"} {
			if strings.Contains(strings.ToLower(line), word) {
				return true
			}
		}
	}
	return false
}
