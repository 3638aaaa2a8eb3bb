// Package readfull fills a buffer from a reader whose own error must not be mistaken for its end.
package readfull

import "io"

// Fill reads until buf is full or r returns an error, and returns that error as it is: io.EOF is the end.
// io.ReadFull turns an early end into io.ErrUnexpectedEOF, which is also what a reader returns whose client
// left in the middle: with it a content cut short passes for a whole one.
func Fill(buf []byte, r io.Reader) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}
