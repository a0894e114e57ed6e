package objects

import "time"

// WithPatience returns the options with the times for which an operation is tried, and for
// which a chunk may be on its way.
func (o Options) WithPatience(all, chunk time.Duration) Options {
	o.patience, o.each = all, chunk
	return o
}

// ChunkSize is how large the chunks of an object are.
const ChunkSize = chunkSize
