package httpapi

import (
	"encoding/base64"
	"io"

	"mailwhy/relay/internal/readfull"
)

// Base64 encodes what r has, without line ends, as it is read.
func Base64(r io.Reader) io.Reader { return &encoder{r: r} }

// group is how much is encoded at once: a multiple of three, so that only the last one has padding.
const group = 3 << 10

// encoder implements Base64.
type encoder struct {
	r   io.Reader
	in  [group]byte
	out [group / 3 * 4]byte
	n   int // bytes of out
	at  int // of these, taken
	err error
}

func (e *encoder) Read(b []byte) (int, error) {
	if e.at == e.n {
		if e.err != nil {
			return 0, e.err
		}
		n, err := readfull.Fill(e.in[:], e.r)
		base64.StdEncoding.Encode(e.out[:], e.in[:n])
		e.n, e.at, e.err = base64.StdEncoding.EncodedLen(n), 0, err
		if e.n == 0 {
			return 0, e.err
		}
		if err != nil && err != io.EOF {
			return 0, err // a part is worth nothing
		}
	}
	n := copy(b, e.out[e.at:e.n])
	e.at += n
	return n, nil
}
