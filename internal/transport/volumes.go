package transport

import (
	"context"
	"fmt"
	"io"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/volume"
)

// Volumes moves the content of volumes and bind mounts. It may be used by several
// goroutines; its fields are not changed once it is in use.
type Volumes struct {
	Helpers     *helper.Runner
	Compression codec.Compression
}

// VolumeTarget takes the content of a volume.
type VolumeTarget interface {
	// Put stores what write writes and finishes, and returns when it is durable. If write
	// fails, nothing of it becomes durable, and Put reports that error.
	Put(ctx context.Context, write func(out Stream) (codec.Stored, error)) error
}

// Stream stores one stream; [codec.Writer] says of what it is.
type Stream interface {
	io.Writer
	StoredBytes() int64
	Finish() (codec.Stored, error)
	Abort()
}

// Move streams what a helper reads into the target, and checks it as it streams by: what
// arrives is a whole archive, and all that the helper says it sent. Its errors are those
// of the helper, which stays, and volume.ErrCorrupt. progress is told the bytes read and the bytes stored so far.
func (v *Volumes) Move(
	ctx context.Context, from *helper.Prepared, to VolumeTarget, progress func(read, stored int64),
) (report volume.Report, err error) {
	err = to.Put(ctx, func(out Stream) (stored codec.Stored, err error) {
		defer out.Abort()
		check := newVolumeCheck()
		observed := &observedWriter{w: io.MultiWriter(out, check), observe: func(read int64) { progress(read, out.StoredBytes()) }}
		report, err = from.Read(ctx, observed)
		if err = check.end(report, err); err != nil {
			return codec.Stored{}, err
		}
		return out.Finish()
	})
	return report, err
}

// volumeCheck checks what is written to it as an archive of a volume.
type volumeCheck struct {
	*io.PipeWriter
	seen volume.Report
	err  error
	done chan struct{} // closed when seen and err are set
}

func newVolumeCheck() *volumeCheck {
	r, w := io.Pipe()
	c := &volumeCheck{PipeWriter: w, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = panics.Catch(func() (err error) {
			if c.seen, err = volume.Check(r); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			return err
		})
		_ = r.CloseWithError(c.err)
	}()
	return c
}

// end ends the stream, and returns what is wrong with it: the error of who read it, if
// there is one, that of the archive, or that it is not what the report says.
func (c *volumeCheck) end(report volume.Report, err error) error {
	_ = c.CloseWithError(err)
	<-c.done
	switch {
	case err != nil:
		return err
	case c.err != nil:
		return c.err
	case report.Entries != c.seen.Entries || report.Bytes != c.seen.Bytes:
		return fmt.Errorf("%w: the helper says that it sent %d entries of %d bytes, and %d of %d arrived",
			volume.ErrCorrupt, report.Entries, report.Bytes, c.seen.Entries, c.seen.Bytes)
	}
	return nil
}

// observedWriter tells how many bytes were written so far.
type observedWriter struct {
	w       io.Writer
	n       int64
	observe func(n int64)
}

func (o *observedWriter) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	o.observe(o.n)
	return n, err
}
