package backup

import (
	"sync"
	"time"
)

// clock counts for how long something is waited for, by one goroutine or by several at once. The
// zero value is ready.
type clock struct {
	mu      sync.Mutex
	waiting int
	since   time.Time // when the first of them began
	spent   time.Duration
}

// begin begins to wait, until end is called.
func (c *clock) begin() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == 0 {
		c.since = time.Now()
	}
	c.waiting++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting--; c.waiting == 0 {
			c.spent += time.Since(c.since)
		}
	}
}

// total is how long was waited so far.
func (c *clock) total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting > 0 {
		return c.spent + time.Since(c.since)
	}
	return c.spent
}
