package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/volume"
)

// Prepared is a helper that runs, and waits for the word to read a place: to make and to
// start it takes a second or more, in which what uses the place need not stand still.
type Prepared struct {
	work
	stop  context.CancelCauseFunc
	begin *io.PipeWriter // its input: at the end of that it reads
	out   late
	said  limited
	ended chan struct{} // closed when code and err are set
	code  int
	err   error
}

// Prepare does all of a Read that can be done while what uses the place still runs. It
// outlasts ctx. After success Remove is called once, after a Read or without one.
func (r *Runner) Prepare(ctx context.Context, name string, from Place) (*Prepared, error) {
	w, err := r.prepare(ctx, name, from, volume.OpRead)
	if err != nil {
		return nil, err
	}
	p := &Prepared{work: w, out: newLate(), ended: make(chan struct{})}
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	p.stop = stop
	waits := make(chan struct{})
	p.said.first = sync.OnceFunc(func() { close(waits) })
	p.out.first = p.said.first
	stdin, begin := io.Pipe()
	p.begin = begin
	context.AfterFunc(running, func() { p.end(context.Cause(running)) })
	go func() {
		defer close(p.ended)
		p.err = panics.Catch(func() (err error) {
			p.code, err = p.engine.RunHelper(running, p.id, stdin, &p.out, &p.said)
			return err
		})
	}()
	select {
	case <-waits:
		return p, nil
	case <-p.ended: // Read says why
		return p, nil
	case <-ctx.Done():
		_ = p.Remove(ctx) // the caller's record stays after any error
		return nil, p.failed(ctx, context.Cause(ctx))
	}
}

// end ends the streams of the helper.
func (p *Prepared) end(err error) {
	_ = p.begin.CloseWithError(err)
	p.out.to(broken{err})
}

// Read writes to w what is in the place, as [volume.Archive] does. Without an error the
// archive is whole; its report may say what changed meanwhile. It reports ErrUnreadable.
// An error of w is returned as it is. The helper stays.
func (p *Prepared) Read(ctx context.Context, w io.Writer) (volume.Report, error) {
	defer context.AfterFunc(ctx, func() { p.stop(context.Cause(ctx)) })()
	p.out.to(w)
	_ = p.begin.Close()
	<-p.ended
	a, err := p.answer(ctx, p.said.Bytes(), p.code, p.err)
	if err == nil && a.Report.Unreadable.Count > 0 {
		return a.Report, fmt.Errorf("read %s: %w: %s", p.at, ErrUnreadable, a.Report.Unreadable)
	}
	return a.Report, err
}

// errRemoved ends a helper that is removed before it has read.
var errRemoved = errors.New("the helper is removed")

// Remove removes the helper. It reports ErrLeft.
func (p *Prepared) Remove(ctx context.Context) error {
	p.stop(errRemoved)
	<-p.ended
	return p.remove(ctx)
}

// late is a writer whose destination is told later. Until then a Write waits.
type late struct {
	first func() // is called when something is written
	told  chan struct{}
	once  sync.Once
	w     io.Writer
}

func newLate() late { return late{told: make(chan struct{})} }

// to tells the destination. Only the first counts.
func (l *late) to(w io.Writer) { l.once.Do(func() { l.w = w; close(l.told) }) }

func (l *late) Write(p []byte) (int, error) {
	l.first()
	<-l.told
	return l.w.Write(p)
}

// broken is a destination that takes nothing.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }
