package wire

import (
	"bytes"
	"time"
)

// outLimit is how many bytes of replies are collected before they are written.
const outLimit = 16 << 10

// Write takes the server's replies and passes them to the Dialogue one whole reply at a time.
func (c *Conn) Write(p []byte) (int, error) {
	c.open()
	c.reply = append(c.reply, p...)
	for {
		n := wholeReply(c.reply)
		if n == 0 {
			return len(p), nil
		}
		if c.swallow {
			c.swallow = false
		} else {
			c.deliver(c.reply[:n])
		}
		c.reply = append(c.reply[:0], c.reply[n:]...)
	}
}

// wholeReply is the length of the reply at the start of b; 0 if it is incomplete (RFC 5321, 4.2.1).
func wholeReply(b []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return 0
		}
		line := b[n : n+i+1]
		n += i + 1
		if len(line) < 4 || line[3] != '-' {
			return n
		}
	}
}

// deliver sends a reply, as changed by the Dialogue, and sets how the next input is read.
func (c *Conn) deliver(reply []byte) {
	if c.ended {
		return
	}
	send, end := c.cfg.Dialogue.Reply(reply)
	c.out = append(c.out, send...)
	switch {
	case end || c.last:
		c.ended = true
		c.linger = c.linger || end
	case bytes.HasPrefix(reply, []byte("354")):
		c.mode = modeContent
		c.content = newContent(c)
	case bytes.HasPrefix(reply, []byte("334")):
		c.mode = modeSASL
	}
	if len(c.out) > outLimit {
		c.flush()
	}
}

// flush writes the pending replies.
func (c *Conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	c.raw.SetWriteDeadline(time.Now().Add(c.cfg.Limits.Write))
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.fail(err)
		c.linger = false
	}
	return err
}
