package bounce

import (
	"runtime"
	"testing"
)

// TestReadingIsLinear: twice the bytes need no more than about twice the bytes walked over and twice the
// memory, whatever their shape. What a square needs is four times.
func TestReadingIsLinear(t *testing.T) {
	const n = 256 << 10
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			once, twice := measured(s.make(n)), measured(s.make(2*n))
			if limit := once.work*5/2 + 64<<10; twice.work > limit {
				t.Errorf("%d bytes were walked over, then %d", once.work, twice.work)
			}
			if limit := once.memory*5/2 + 1<<20; twice.memory > limit {
				t.Errorf("%d bytes were allocated, then %d", once.memory, twice.memory)
			}
			// The race detector makes the engine's pool of working memory forget some of it.
			if twice.work > 40*2*n || twice.memory > 80*2*n+8<<20 {
				t.Errorf("%d bytes were walked over and %d allocated for %d", twice.work, twice.memory, 2*n)
			}
		})
	}
}

// cost is what reading and annotating a file took.
type cost struct{ work, memory int64 }

func measured(file string) cost {
	b := []byte(file)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := parse(b)
	Annotate(b, annotation)
	runtime.ReadMemStats(&after)
	return cost{d.work, int64(after.TotalAlloc - before.TotalAlloc)}
}
