package dsn

import (
	"testing"

	"mailwhy/relay"
)

// BenchmarkCompose writes the bounce of a message that was refused: what each failure costs.
func BenchmarkCompose(b *testing.B) {
	c, err := New(testOptions())
	if err != nil {
		b.Fatal(err)
	}
	r := reportOf(relay.NoticeFailed, sampleContent,
		refused("jane@example.net", relay.Failed, sampleUnknown, unknownDiagnosis()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compose(r); err != nil {
			b.Fatal(err)
		}
	}
}
