package recall

import (
	"reflect"
	"testing"
	"time"

	"mailwhy/relay"
	"mailwhy/relay/feedback"
)

// TestRecord: what is stored of a message comes back as it was, bytes that are no text too.
func TestRecord(t *testing.T) {
	m := mail(1, begins, "Grüße@there.example", "b@there.example", "c@there.example")
	m.Mail, m.Report = relay.DerivedID(begins, "mail"), true
	m.Envelope = relay.Envelope{From: `"Odd one"@shop.example`, Body: relay.Body8BitMIME, SMTPUTF8: true,
		Ret: relay.RetFull, EnvID: "id=1+2"}
	m.TraceID, m.SpanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	m.Subject, m.Client.User = "caf\xe9 \x00 <&>", "u\xff"
	m.Recipients[0].ORCPT, m.Recipients[0].Notify = "rfc822;x+2By@there.example", relay.NotifySuccess
	m.Recipients[0].Last.DSN, m.Recipients[0].Last.Upstream = true, "other"
	m.Recipients[1].State, m.Recipients[1].Last.Uncertain = relay.Deferred, true
	m.Recipients[2].State, m.Recipients[2].Last = relay.Queued, nil
	got, err := decode(encode(m))
	if err != nil {
		t.Fatal(err)
	}
	want := m
	for i := range want.Recipients {
		if a := want.Recipients[i].Last; a != nil { // what was said is not remembered
			want.Recipients[i].Last = &relay.Attempt{Time: a.Time, Upstream: a.Upstream, Host: a.Host,
				UpstreamID: a.UpstreamID, Uncertain: a.Uncertain, DSN: a.DSN}
			got.Recipients[i].Last.Time = got.Recipients[i].Last.Time.UTC()
		}
	}
	got.Arrived = got.Arrived.UTC()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	states := []feedback.State{feedback.StateRelayed, feedback.StateUncertain, ""}
	for i := range got.Recipients {
		if s := stateOf(&got.Recipients[i]); s != states[i] {
			t.Errorf("recipient %d is %q, want %q", i, s, states[i])
		}
	}
}

// TestRecordIsSmall: what is remembered of an ordinary message takes little room.
func TestRecordIsSmall(t *testing.T) {
	m := mail(1, time.Now(), "someone@there.example")
	m.Recipients[0].Last.UpstreamID = "0102019a3b5c7d8e-12345678-1234-1234-1234-123456789abc-000000"
	if n := len(encode(m)); n > 350 {
		t.Errorf("%d bytes", n)
	}
}

// FuzzDecode: whatever stands in the file, reading it ends, with a message or with an error.
func FuzzDecode(f *testing.F) {
	f.Add(encode(mail(1, begins, "a@x.example", "b@x.example")))
	f.Add([]byte{recordLayout})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if (m == nil) == (err == nil) {
			t.Errorf("%v, %v", m, err)
		}
		if err == nil {
			keysOf(m)
		}
	})
}

// TestDoubtStays: that the upstream may have a message stays true until it is settled, though it was offered
// again meanwhile.
func TestDoubtStays(t *testing.T) {
	b := newBox(t)
	m := mail(1, begins, "a@x.example")
	told := func(state relay.State, uncertain bool) feedback.State {
		m.Recipients[0].State = state
		m.Recipients[0].Last = &relay.Attempt{Time: begins, Upstream: "default", Uncertain: uncertain}
		b.Relayed(m)
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.of(m).States[0]
	}
	for i, tt := range []struct {
		state     relay.State
		uncertain bool
		want      feedback.State
	}{
		{relay.Deferred, true, feedback.StateUncertain},
		{relay.Deferred, false, feedback.StateUncertain},
		{relay.Relayed, false, feedback.StateRelayed},
	} {
		if got := told(tt.state, tt.uncertain); got != tt.want {
			t.Errorf("step %d: %q, want %q", i, got, tt.want)
		}
	}
	m = mail(2, begins, "a@x.example")
	told(relay.Deferred, true)
	if got := told(relay.Expired, false); got != "" {
		t.Errorf("expired after the doubt: %q", got)
	}
}
