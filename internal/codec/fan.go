package codec

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrSlow is reported by a Branch that was left out because others waited for it.
	ErrSlow = errors.New("it takes the bytes too slowly, and the others do not wait for it any longer")
	// ErrNobody is reported by a Fan all of whose branches have left.
	ErrNobody = errors.New("codec: nobody takes the stream any more")

	errFanStopped = errors.New("codec: the stream was stopped")
)

const (
	// fanPart is how many bytes are passed on at a time, at most, and fanParts how many
	// such parts wait for a branch.
	fanPart  = 1 << 20
	fanParts = 4
	// fanTick is how long is waited at least before it is asked again why.
	fanTick = time.Millisecond
)

// Fan passes one stream on to several branches, each at its own pace, as far as that
// goes with a few megabytes that wait for it. A branch that the others have to wait for
// longer than they have patience leaves; the last one never does. What it takes a branch to
// compress, and the like, they wait for. One goroutine writes.
type Fan struct {
	stop     <-chan struct{}
	patience time.Duration
	branches []*Branch
	room     chan struct{} // takes a signal: a branch has taken something, or has left
	free     chan *part
	err      error // why the stream is not whole; read by branches at their end
}

// NewFan returns a Fan without branches. A Write ends when stop is closed.
func NewFan(stop <-chan struct{}, patience time.Duration) *Fan {
	return &Fan{stop: stop, patience: patience, room: make(chan struct{}, 1), free: make(chan *part, fanParts)}
}

// Branch adds a branch, for which the others have waited so long already. away is for how long
// what takes its bytes has waited for something that is not ours; of the time that the others
// wait, no more than that counts. late is called by Write when it leaves as they have no more
// patience. All are added before the first Write.
func (f *Fan) Branch(waited time.Duration, away func() time.Duration, late func()) *Branch {
	b := &Branch{fan: f, parts: make(chan *part, fanParts), left: make(chan struct{}), waited: waited, away: away, late: late}
	f.branches = append(f.branches, b)
	return b
}

// part is a part of the stream, which several branches have.
type part struct {
	bytes []byte
	users atomic.Int32
}

// Write implements [io.Writer]. It returns when all branches that are left have the
// bytes, or keep them for later. It reports ErrNobody.
func (f *Fan) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		size := min(len(p), fanPart)
		if err := f.pass(p[:size]); err != nil {
			return n, err
		}
		n, p = n+size, p[size:]
	}
	return n, nil
}

// pass passes a part on.
func (f *Fan) pass(p []byte) error {
	one := f.newPart(p)
	defer f.release(one)
	took := 0
	waiting := slices.Clone(f.branches)
	for {
		waiting = slices.DeleteFunc(waiting, func(b *Branch) bool {
			taken := b.offer(one)
			if taken {
				took++
			}
			return taken || b.hasLeft()
		})
		switch {
		case len(waiting) > 0:
		case took == 0:
			return ErrNobody
		default:
			return nil
		}
		if err := f.wait(waiting, took > 0); err != nil {
			return err
		}
	}
}

// wait waits until a branch may take something. Those that are waited for leave when the
// others, if there are any, have waited long enough.
func (f *Fan) wait(waiting []*Branch, others bool) error {
	var late <-chan time.Time
	began := time.Now()
	away := make([]time.Duration, len(waiting))
	for i, b := range waiting {
		away[i] = b.away()
	}
	if others {
		slowest := slices.MaxFunc(waiting, func(a, b *Branch) int { return cmp.Compare(a.waited, b.waited) })
		timer := time.NewTimer(max(f.patience-slowest.waited, fanTick))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-f.room:
	case <-late:
	case <-f.stop:
		return errFanStopped
	}
	if !others {
		return nil
	}
	for i, b := range waiting {
		if b.waited += min(time.Since(began), b.away()-away[i]); b.waited >= f.patience && !b.hasLeft() {
			b.slow.Store(true)
			b.Leave()
			b.late()
		}
	}
	return nil
}

// End ends the stream: whole if err is nil. It is called once, after the last Write.
func (f *Fan) End(err error) {
	f.err = err
	for _, b := range f.branches {
		close(b.parts)
	}
}

func (f *Fan) newPart(p []byte) *part {
	var one *part
	select {
	case one = <-f.free:
	default:
		one = &part{}
	}
	one.bytes = append(one.bytes[:0], p...)
	one.users.Store(1)
	return one
}

func (f *Fan) release(one *part) {
	if one.users.Add(-1) > 0 {
		return
	}
	select {
	case f.free <- one:
	default:
	}
}

func (f *Fan) wake() {
	select {
	case f.room <- struct{}{}:
	default:
	}
}

// Branch takes what is written to its Fan.
type Branch struct {
	fan    *Fan
	parts  chan *part
	waited time.Duration // of the goroutine that writes
	away   func() time.Duration
	late   func()
	slow   atomic.Bool
	left   chan struct{} // closed when it takes no more
	leave  sync.Once
}

// Waited is how long the others have waited for the branch. It is asked for after the
// last Write.
func (b *Branch) Waited() time.Duration { return b.waited }

// Leave has the others go on without this branch. It may be called by any goroutine, and
// more than once.
func (b *Branch) Leave() {
	b.leave.Do(func() {
		close(b.left)
		b.fan.wake()
	})
}

func (b *Branch) hasLeft() bool {
	select {
	case <-b.left:
		return true
	default:
		return false
	}
}

func (b *Branch) offer(one *part) bool {
	if b.hasLeft() {
		return false
	}
	one.users.Add(1)
	select {
	case b.parts <- one:
		return true
	default:
		one.users.Add(-1)
		return false
	}
}

// WriteTo implements [io.WriterTo]: it writes the whole stream, and then leaves. It
// reports ErrSlow, and the error that the stream was ended with.
func (b *Branch) WriteTo(w io.Writer) (n int64, err error) {
	defer b.Leave()
	for one := range b.parts {
		b.fan.wake()
		if b.hasLeft() {
			return n, ErrSlow
		}
		taken, err := w.Write(one.bytes)
		n += int64(taken)
		b.fan.release(one)
		if err != nil {
			return n, err
		}
	}
	if b.slow.Load() {
		return n, ErrSlow
	}
	return n, b.fan.err
}
