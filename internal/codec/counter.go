package codec

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"sync/atomic"
)

// counter counts and hashes the bytes that it passes on. One goroutine writes,
// while others may read the count.
type counter struct {
	w    io.Writer
	hash hash.Hash
	n    atomic.Int64
}

func newCounter(w io.Writer) *counter { return &counter{w: w, hash: sha256.New()} }

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	c.n.Add(int64(n))
	return n, err
}

func (c *counter) written() int64 { return c.n.Load() }

// digest may be called when the last write has returned.
func (c *counter) digest() string { return Digest(c.hash) }

// Digest returns the digest of what was hashed, "sha256:<hex>"; h is one of SHA-256.
func Digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
