package objects

import "time"

// WithPatience returns the options with the times for which an operation is tried, for which
// a chunk may be on its way, and, in proportion, for which a connection may stand still.
func (o Options) WithPatience(all, chunk time.Duration) Options {
	o.patience, o.each, o.ping = all, chunk, chunk/(chunkTime/pingTime)
	return o
}

// ChunkSize is how large the chunks of an object are.
const ChunkSize = chunkSize
