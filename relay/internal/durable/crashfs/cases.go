package crashfs

import "iter"

// Cuts gives file systems, for each of so many seeds one that loses its power after the first operation, one
// after the second, and so on until the body of the loop has come to its end without a cut. prepare, unless
// nil, makes what is there before; its operations are not counted. It should make it durable.
func Cuts(seeds uint64, prepare func(*FS)) iter.Seq[*FS] {
	return cases(seeds, prepare, func(f *FS, n int) { f.CutAfter(n) })
}

// Faults is Cuts, but with an operation that fails with err in place of the cut.
func Faults(seeds uint64, err error, prepare func(*FS)) iter.Seq[*FS] {
	return cases(seeds, prepare, func(f *FS, n int) { f.Fail("", n+1, err) })
}

// cases has ask ask for a cut or a fault after no operation, one, two, until the body no longer meets it.
func cases(seeds uint64, prepare func(*FS), ask func(f *FS, n int)) iter.Seq[*FS] {
	return func(yield func(*FS) bool) {
		for seed := range seeds {
			for n, hit := 0, true; hit; n++ {
				f := New(seed)
				if prepare != nil {
					prepare(f)
				}
				ask(f, n)
				if !yield(f) {
					return
				}
				hit = f.Hit()
			}
		}
	}
}
