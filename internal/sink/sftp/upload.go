package sftp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	pkgsftp "github.com/pkg/sftp"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// An upload keeps what the server has not acknowledged in parts of so many bytes, at most
// so many of them: that is what a lost connection costs.
const (
	partSize = 4 << 20
	maxParts = 4
)

// upload writes a file in parts, several at a time. A part is written again, at its place,
// over another connection until it is acknowledged, so that no hole can be left.
type upload struct {
	store       *Store
	ctx         context.Context //nolint:containedctx // a writer has no other place for it
	cancel      context.CancelCauseFunc
	key, hidden string

	free    chan []byte // buffers for parts
	part    []byte      // what is to be written next
	at      int64       // where part goes
	parts   sync.WaitGroup
	renamed bool // whether it may have become the object

	mu      sync.Mutex // guards what follows
	pending map[int64]bool
	link    *link // over which file is open
	file    *pkgsftp.File
}

var errAborted = errors.New("the upload was aborted")

// Begin implements [object.Store].
func (s *Store) Begin(ctx context.Context, key string, _ int64) (object.Upload, error) {
	u := &upload{store: s, key: key, hidden: hide(key), free: make(chan []byte, maxParts), pending: map[int64]bool{}}
	for range maxParts {
		u.free <- nil
	}
	err := s.try(ctx, key, func(l *link) (err error) {
		u.link = l
		u.file, _, err = s.create(ctx, l, key, u.hidden)
		return err
	})
	if err != nil {
		s.discard(ctx, u.hidden)
		return nil, err
	}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u, nil
}

// Write implements [io.Writer].
func (u *upload) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if u.part == nil {
			if u.part, err = u.buffer(); err != nil {
				return n, err
			}
		}
		k := min(len(p)-n, partSize-len(u.part))
		u.part = append(u.part, p[n:n+k]...)
		n += k
		if len(u.part) == partSize {
			u.send()
		}
	}
	return n, context.Cause(u.ctx)
}

func (u *upload) buffer() ([]byte, error) {
	select {
	case b := <-u.free:
		if b == nil {
			b = make([]byte, 0, partSize)
		}
		return b[:0], nil
	case <-u.ctx.Done():
		return nil, context.Cause(u.ctx)
	}
}

// send has the part written.
func (u *upload) send() {
	part, at := u.part, u.at
	u.part, u.at = nil, u.at+int64(len(u.part))
	u.mu.Lock()
	u.pending[at] = true
	u.mu.Unlock()
	u.parts.Go(func() {
		err := u.store.try(u.ctx, u.key, func(l *link) error {
			f, err := u.open(u.ctx, l)
			if err != nil {
				return err
			}
			return l.write(u.ctx, f, part, at)
		})
		if err != nil {
			u.cancel(err)
			return
		}
		u.mu.Lock()
		delete(u.pending, at)
		u.mu.Unlock()
		u.free <- part
	})
}

// open returns the file over a link, and opens it if another one had it open. A server
// that was restarted may have lost what it had acknowledged.
func (u *upload) open(ctx context.Context, l *link) (*pkgsftp.File, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.link == l {
		return u.file, nil
	}
	f, err := l.open(ctx, u.store.path(u.hidden), os.O_WRONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: the upload was removed by another process; retry", u.store.Place(u.key), sink.ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	info, err := l.fstat(ctx, f)
	if err != nil {
		return nil, err
	}
	if sure := u.acknowledged(); info.Size() < sure {
		return nil, fmt.Errorf("%s: %w: the server has lost what it had acknowledged: %d bytes of %d; retry",
			u.store.Place(u.key), sink.ErrUnavailable, sure-info.Size(), sure)
	}
	u.link, u.file = l, f
	return f, nil
}

// acknowledged returns how many bytes before the first part that is pending the server has
// acknowledged. When none is, all were, and Commit compares their number.
func (u *upload) acknowledged() int64 {
	if len(u.pending) == 0 {
		return 0
	}
	return slices.Min(slices.Collect(maps.Keys(u.pending)))
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	if len(u.part) > 0 {
		u.send()
	}
	u.parts.Wait()
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	err := u.store.try(u.ctx, u.key, u.commit)
	if err == nil {
		u.cancel(nil)
	}
	return err
}

func (u *upload) commit(l *link) error {
	i := installation{u.key, u.hidden, u.at, replaces}
	if u.renamed { // the answer may have been lost
		there, err := u.became(u.ctx, l)
		if err != nil || there {
			return err
		}
	}
	f, err := u.open(u.ctx, l)
	if err != nil {
		return err
	}
	u.renamed = true
	err = u.store.install(u.ctx, l, f, i)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w: the upload was removed by another process; retry", u.store.Place(u.key), sink.ErrUnavailable)
	}
	return err
}

// became reports whether the hidden file has become the object.
func (u *upload) became(ctx context.Context, l *link) (bool, error) {
	_, err := l.lstat(ctx, u.store.path(u.hidden))
	if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	there, err := u.store.find(ctx, l, u.key)
	return there != nil && there.Size() == u.at, err
}

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.cancel(errAborted)
	u.parts.Wait()
	return u.store.try(ctx, u.key, func(l *link) error {
		if err := u.remove(ctx, l); err != nil {
			return err
		}
		if u.link == l && u.file != nil {
			go func() { _ = do(context.WithoutCancel(ctx), l, u.file.Close) }() // it waits for calls that were left behind
		}
		return u.store.tidy(ctx, l, u.key)
	})
}

// remove removes the file, under which name it may have.
func (u *upload) remove(ctx context.Context, l *link) error {
	if u.renamed {
		there, err := u.became(ctx, l)
		if err != nil {
			return err
		}
		if there {
			return l.remove(ctx, u.store.path(u.key))
		}
	}
	return l.remove(ctx, u.store.path(u.hidden))
}
