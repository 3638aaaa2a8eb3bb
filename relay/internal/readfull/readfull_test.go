package readfull

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestFill(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		has  int
		ends error
		n    int
		want error
	}{
		{3, io.EOF, 3, io.EOF}, {3, io.ErrUnexpectedEOF, 3, io.ErrUnexpectedEOF}, {3, broken, 3, broken},
		{8, broken, 8, nil}, {9, broken, 8, nil}, {0, io.EOF, 0, io.EOF},
	} {
		r := io.MultiReader(bytes.NewReader(make([]byte, tc.has)), iotest.ErrReader(tc.ends))
		n, err := Fill(make([]byte, 8), iotest.OneByteReader(r))
		if n != tc.n || err != tc.want {
			t.Errorf("%d bytes, then %v: %d, %v", tc.has, tc.ends, n, err)
		}
	}
}
