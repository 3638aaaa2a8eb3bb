package webhook

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"mailwhy/relay/feedback"
)

// FuzzRead reads any bytes as any provider's: each event has a kind and an id, the same each time, and no
// such bytes are proved.
func FuzzRead(f *testing.F) {
	names := Providers()
	for i, name := range names {
		for _, s := range samples(f, name) {
			f.Add(uint8(i), s.raw.Body, s.raw.Header["Content-Type"], s.raw.Header["Svix-Id"])
		}
	}
	hooks := make([]*Hook, len(names))
	for i, name := range names {
		hooks[i] = newHook(f, name)
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte, contentType, id string) {
		hook := hooks[int(which)%len(hooks)]
		name := hook.kind.name
		request := &Request{Body: body, Header: http.Header{
			"Content-Type": {contentType}, "Svix-Id": {id}, "Signature": {id}, "X-Mandrill-Signature": {id}}}
		if hook.Prove(t.Context(), request, testTime) == nil {
			t.Fatalf("%s: proved", name)
		}
		header := map[string]string{"Content-Type": contentType, "Svix-Id": id}
		raws := []*feedback.Raw{{Body: body, Header: header}}
		if name == "ses" || name == "scaleway" || name == "mandrill" {
			raws = append(raws, inEnvelope(name, "", body))
		}
		for _, raw := range raws {
			events, _ := hook.Read(raw)
			again, _ := hook.Read(raw)
			if len(events) != len(again) {
				t.Fatalf("%s: %d events, then %d", name, len(events), len(again))
			}
			for i, e := range events {
				checkEvent(t, name, &e, &again[i])
			}
		}
	})
}

// checkEvent holds an event to what always holds.
func checkEvent(t *testing.T, provider string, e, again *feedback.Event) {
	t.Helper()
	switch {
	case !slices.Contains(kinds(), e.Kind):
		t.Errorf("%s: kind %q", provider, e.Kind)
	case e.ID == "" || e.ID != again.ID:
		t.Errorf("%s: ids %q and %q", provider, e.ID, again.ID)
	case e.Provider != provider || len(e.Raw) == 0:
		t.Errorf("%s: provider %q, %d bytes", provider, e.Provider, len(e.Raw))
	}
	for _, k := range e.Keys {
		if k.Value == "" || len(k.Value) > maxKey || strings.TrimSpace(k.Value) != k.Value {
			t.Errorf("%s: key %q", provider, k.Value)
		}
	}
}
