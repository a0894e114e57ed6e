package s3

import "time"

// WithIdleTime returns the options with the time for which connections may stand still.
func (o Options) WithIdleTime(d time.Duration) Options {
	o.idle = d
	return o
}

// PartSize is how large the parts of an artifact of at most so many bytes are.
func (o Options) PartSize(most int64) int64 { return o.partSize(most) }
