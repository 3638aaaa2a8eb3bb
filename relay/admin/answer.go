package admin

import (
	"encoding/json"
	"fmt"
	"io"
)

// maxValue is the largest JSON value of an answer that a Client reads, bytes: a message with 10,000
// recipients and the longest history of each has some 250 MB.
const maxValue = 512 << 20

// answer reads the JSON values of an answer. Whatever answers on the socket, no value takes more memory than
// maxValue.
type answer struct {
	body    io.Reader
	decoder *json.Decoder
	max     int64
	left    int64 // of the value that is being read, bytes
}

func newAnswer(body io.Reader) *answer {
	a := &answer{body: body, max: maxValue}
	a.decoder = json.NewDecoder(a)
	return a
}

// next reads the next value. At the end it returns io.EOF.
func (a *answer) next(v any) error {
	a.left = a.max
	return a.decoder.Decode(v)
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("a value of more than %d bytes", a.max)
	}
	n, err := a.body.Read(b[:min(int64(len(b)), a.left)])
	a.left -= int64(n)
	return n, err
}
