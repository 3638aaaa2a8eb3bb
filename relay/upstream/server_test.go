package upstream

import (
	"testing"

	"mailwhy/relay/smtptest"
)

func TestRelay(t *testing.T) {
	s := smtptest.New(t, smtptest.Options{})
	p := newPool(t, s.Addr(), nil)
	out := send(t, p, message(content, "a@b.test"), message(content, "b@b.test", "c@b.test"), message(content, "d@b.test"))
	for i, o := range out {
		for _, a := range attempts(t, o) {
			if !a.Accepted() {
				t.Errorf("message %d: %+v", i, a)
			}
		}
	}
}
