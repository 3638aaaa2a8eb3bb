package bounce

import (
	"fmt"
	"testing"
)

// BenchmarkParse reads files of hostile shapes: the MB/s of a shape do not fall as it grows.
func BenchmarkParse(b *testing.B) {
	for _, s := range shapes() {
		for _, n := range []int{64 << 10, 1 << 20, 16 << 20} {
			file := []byte(s.make(n))
			b.Run(fmt.Sprintf("%s/%dKiB", s.name, n>>10), func(b *testing.B) {
				b.SetBytes(int64(len(file)))
				b.ReportAllocs()
				for b.Loop() {
					Parse(file)
				}
			})
		}
	}
}
