package azure

import "time"

// Hasten returns the options with connections that may stand still for so long, and requests
// that are tried again as often, but sooner.
func (o Options) Hasten(idle time.Duration) Options {
	o.idle, o.retry = idle, halfAMinute
	o.retry.RetryDelay, o.retry.MaxRetryDelay = 10*time.Millisecond, 500*time.Millisecond
	return o
}

// BlockSize is how large the blocks of an artifact of at most so many bytes are.
func (o Options) BlockSize(most int64) int64 { return o.blockSize(most) }
