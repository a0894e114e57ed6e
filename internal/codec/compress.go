package codec

import (
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// frameSize is the number of bytes in one zstd frame, and so how far back a match
// may lie. A stream holds about five times as much for each thread, which is what
// bounds the worker's memory.
const frameSize = 1 << 20

// maxThreads bounds the threads, and with them the memory, of one stream.
const maxThreads = 4

// compressor compresses what is written to it as zstd frames of frameSize each.
// Several threads make them, and they are written in their order. Frames that
// follow each other are one stream to zstd and to its libraries. The library's own
// parallel stream (WithConcurrentBlocks) keeps several times as much in memory.
//
// Frames take very different times, and the first one in order may be the last one
// that is compressed. So the plain bytes of a frame are free for others as soon as
// they are compressed, while the stored ones wait for their turn.
type compressor struct {
	w    io.Writer
	zstd *zstd.Encoder
	// plain are buffers to fill, and filling is the one that is filled, nil if none
	// is. There is one for each thread, and one more.
	plain   *pool[[]byte]
	filling []byte
	// frames has one for each thread, and two that wait for their turn or are
	// written meanwhile.
	frames  *pool[*frame]
	work    chan *frame // on their way to a thread
	ordered chan *frame // on their way to the writer; nil after the end
	ended   chan struct{}
	failure atomic.Pointer[error] // of the writer; the first one stays
}

// frame is one frame on its way from plain to stored bytes.
type frame struct {
	plain, stored []byte
	ready         chan struct{} // takes one signal, when stored is whole
}

// newCompressor returns a compressor that writes to w from a goroutine of its
// own. The caller calls Close or breakOff.
func newCompressor(w io.Writer, how Compression) (*compressor, error) {
	enc, threads, err := how.NewEncoder(frameSize)
	if err != nil {
		return nil, err
	}
	frames := threads + 2
	c := &compressor{
		w: w, zstd: enc,
		plain: newPool(threads+1, func() []byte { return make([]byte, 0, frameSize) }),
		frames: newPool(frames, func() *frame {
			return &frame{stored: make([]byte, 0, enc.MaxEncodedSize(frameSize)), ready: make(chan struct{}, 1)}
		}),
		work: make(chan *frame, frames), ordered: make(chan *frame, frames),
		ended: make(chan struct{}),
	}
	for range threads {
		go c.encode()
	}
	go c.flush(w, c.ordered)
	return c, nil
}

// Write implements [io.Writer]. An error may be that of an earlier write.
func (c *compressor) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if failure := c.failure.Load(); failure != nil {
			return n, *failure
		}
		if c.filling == nil {
			c.filling = c.plain.get()
		}
		taken := copy(c.filling[len(c.filling):cap(c.filling)], p)
		c.filling = c.filling[:len(c.filling)+taken]
		n, p = n+taken, p[taken:]
		if len(c.filling) == cap(c.filling) {
			c.compress()
		}
	}
	return n, nil
}

// compress has the buffer that was filled compressed and written. Frames are taken
// in their order, so the next one to be written always has one.
func (c *compressor) compress() {
	f := c.frames.get()
	f.plain, c.filling = c.filling, nil
	c.ordered <- f
	c.work <- f
}

// encode compresses frames, until there are no more.
func (c *compressor) encode() {
	for f := range c.work {
		f.stored = c.zstd.EncodeAll(f.plain, f.stored[:0])
		c.plain.put(f.plain[:0])
		f.plain = nil
		f.ready <- struct{}{}
	}
}

// flush writes frames in their order, until there are no more.
func (c *compressor) flush(w io.Writer, ordered <-chan *frame) {
	defer close(c.ended)
	for f := range ordered {
		<-f.ready
		if c.failure.Load() == nil {
			if _, err := w.Write(f.stored); err != nil {
				c.failure.Store(&err)
			}
		}
		c.frames.put(f)
	}
}

// Close writes what is left and ends the stream.
func (c *compressor) Close() error {
	if c.filling != nil {
		c.compress()
	}
	c.end()
	if failure := c.failure.Load(); failure != nil {
		return *failure
	}
	return nil
}

// frameBegin begins a frame (RFC 8878, 3.1.1).
var frameBegin = []byte{0x28, 0xb5, 0x2f, 0xfd}

// breakOff ends the stream in the middle: with the beginning of a frame, so that
// nobody takes what was written for a whole one. It returns when the last write has
// ended. After Close it does nothing.
func (c *compressor) breakOff() {
	if c.ordered == nil {
		return
	}
	c.end()
	if c.failure.Load() == nil {
		_, _ = c.w.Write(frameBegin) // what is broken off can break off earlier
	}
}

// end returns when all that was compressed is written.
func (c *compressor) end() {
	close(c.work)
	close(c.ordered)
	<-c.ended
	c.ordered, c.filling = nil, nil
}

// pool lends at most so many buffers, and makes one when it is needed: what is
// short needs few. One goroutine gets, and any put back.
type pool[T any] struct {
	free   chan T
	unmade int
	make   func() T
}

func newPool[T any](size int, one func() T) *pool[T] {
	return &pool[T]{free: make(chan T, size), unmade: size, make: one}
}

// get waits until a buffer is free.
func (p *pool[T]) get() T {
	if len(p.free) == 0 && p.unmade > 0 {
		p.unmade--
		return p.make()
	}
	return <-p.free
}

func (p *pool[T]) put(buffer T) { p.free <- buffer }
