package transfer

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// checking reads a content to its end, where it compares the checksum. A content that is not what was
// exported ends in an error, so that nothing of it is stored.
type checking struct {
	r    io.Reader
	sum  hash.Hash
	want string
	name string
}

// Read implements io.Reader.
func (c *checking) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.sum.Write(b[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
			return 0, fmt.Errorf("%s is damaged: its SHA-256 is %s, and it was %s", c.name, got, c.want)
		}
	}
	return n, err
}
