package point

import (
	"encoding/hex"
	"hash"
	"io"
	"sync/atomic"
)

// counter counts and hashes what it passes on. The encoder writes from a
// goroutine of its own while the progress is read from another.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	c.n.Add(int64(n))
	return n, err
}

func (c *counter) written() int64 { return c.n.Load() }

// result may be called when the last write has returned.
func (c *counter) result() Written {
	return Written{Size: c.n.Load(), Digest: "sha256:" + hex.EncodeToString(c.hash.Sum(nil))}
}
