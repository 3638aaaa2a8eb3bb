package postgres

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/smtptest/postgrestest"
	"mailwhy/relay/spool/spooltest"
)

// benchSpool opens a spool on a server of its own, with a synchronous standby on the same machine, for a
// benchmark. wal says how many bytes of WAL the server has written; end closes the spool, and says how often
// the server has synced the WAL.
func benchSpool(b *testing.B) (s *Spool, wal func() float64, end func() (syncs float64)) {
	primary := postgrestest.New(b, postgrestest.Options{})
	standby := primary.Standby(b)
	o := testOptions(b, primary.URL("postgres", standby))
	o.Single, o.Memory, o.Heartbeat, o.DeadAfter = false, 16<<20, 5*time.Second, 30*time.Second
	o.Log = slog.New(slog.DiscardHandler)
	s = openTest(b, o)
	number := func(sql string) float64 {
		n, err := strconv.ParseFloat(primary.MustExec(b, sql), 64)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	primary.MustExec(b, "select pg_stat_reset_shared('wal')")
	return s, func() float64 {
			return number("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
		}, func() float64 {
			s.Close() // a session tells what it did when it ends
			time.Sleep(time.Second)
			return number("select wal_sync from pg_stat_wal")
		}
}

// benchMessage is a message as an application sends it.
func benchMessage() *relay.Message {
	m := testMessage()
	m.Lane, m.Envelope.Body = "default", relay.Body8BitMIME
	m.Client = relay.Client{Name: "loopback", Addr: "127.0.0.1", Hello: "app.example", Protocol: "ESMTP"}
	m.MessageID, m.Subject, m.HeaderFrom = "<20261123.1@sender.example>", "Your receipt", "sender.example"
	return m
}

// measured runs f b.N times from n goroutines, and reports what it cost.
func measured(b *testing.B, n int, f func(*Spool)) {
	s, wal, end := benchSpool(b)
	bytes := wal()
	b.ReportAllocs()
	b.ResetTimer()
	spooltest.AtOnce(b.N, n, func() { f(s) })
	b.StopTimer()
	perSecond := float64(b.N) / b.Elapsed().Seconds()
	bytes = wal() - bytes
	b.ReportMetric(perSecond, "messages/s")
	b.ReportMetric(bytes/float64(b.N), "WAL-B/message")
	b.ReportMetric(end()/float64(b.N), "WAL-syncs/message")
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10, 1 << 20} {
		for _, sessions := range []int{1, 10, 50} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, sessions), func(b *testing.B) {
				content := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
				measured(b, sessions, func(s *Spool) { benchPut(b, s, content) })
			})
		}
	}
}

// benchPut puts one message.
func benchPut(b *testing.B, s *Spool, content []byte) {
	ms := []*relay.Message{benchMessage()}
	if err := s.Put(context.Background(), ms, bytes.NewReader(content)); err != nil {
		b.Error(err)
	}
}

// BenchmarkPassThrough is the whole way of a message through the spool: put, lease, read, settle.
func BenchmarkPassThrough(b *testing.B) {
	content := bytes.Repeat([]byte("0123456789abcde\n"), 256)
	for _, sessions := range []int{1, 10, 50} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			measured(b, sessions, func(s *Spool) {
				benchPut(b, s, content)
				relayNext(b, s)
			})
		})
	}
}

// relayNext leases, reads and settles one message.
func relayNext(b *testing.B, s *Spool) {
	var leases []relay.Lease
	for len(leases) == 0 {
		var err error
		leases, _, err = s.Lease(context.Background(),
			relay.LeaseQuery{Lane: "default", Now: time.Now(), Max: 1, For: time.Hour})
		if err != nil {
			b.Error(err)
			return
		}
	}
	rc, err := s.Content(context.Background(), leases[0].Message.ID)
	if err != nil {
		b.Error(err)
		return
	}
	defer rc.Close()
	if _, err := io.Copy(io.Discard, rc); err != nil {
		b.Error(err)
	}
	if err := relayed(s, leases[0]); err != nil {
		b.Error(err)
	}
}
