package sftp

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// link is one connection to the server, and the session in it. It may be used by several
// goroutines. It closes itself when nothing moves although an answer is due, and when it
// is not used.
type link struct {
	client *pkgsftp.Client
	ssh    *ssh.Client
	times  times
	gone   chan struct{} // is closed when the connection has ended

	mu     sync.Mutex // guards what follows
	closed bool
	calls  int       // that wait for their answer
	syncs  int       // of these, such as write to the server's disk
	moved  time.Time // when bytes last came or went; while no call waits, when the last one ended
	asked  time.Time // when the server was asked whether it lives; zero when it has answered
}

// errLost is reported for a connection that has ended.
var errLost = errors.New("the connection was lost")

// use has a link watched until it ends.
func (l *link) use() {
	go func() {
		_ = l.client.Wait()
		l.close()
		close(l.gone)
	}()
	go l.watch()
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.ssh.Close()
}

// begin counts a call, unless the link is closed.
func (l *link) begin(syncs int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.calls == 0 {
		l.moved = time.Now()
	}
	l.calls++
	l.syncs += syncs
	return true
}

func (l *link) end(syncs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncs -= syncs
	if l.calls--; l.calls == 0 {
		l.moved = time.Now()
	}
}

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// move notes that bytes moved.
func (l *link) move() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = time.Now()
}

// watch closes the link in time.
func (l *link) watch() {
	ticks := time.NewTicker(min(l.times.stall, l.times.idle) / 6)
	defer ticks.Stop()
	for {
		select {
		case <-l.gone:
			return
		case now := <-ticks.C:
			if l.overdue(now) {
				l.close()
			}
		}
	}
}

// overdue reports whether the link is to be closed. While the server syncs a file nothing
// moves in the session, so the server itself is asked whether it lives.
func (l *link) overdue(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	still := now.Sub(l.moved)
	switch {
	case l.calls == 0:
		l.closed = still > l.times.idle // nobody may begin to use it from here on
		return l.closed
	case l.syncs == 0:
		return still > l.times.stall
	case l.asked.IsZero():
		l.asked = now
		go l.ask()
		return false
	}
	return still > l.times.sync || min(still, now.Sub(l.asked)) > l.times.stall
}

// ask waits until the server says that it lives, or the link ends.
func (l *link) ask() {
	_, _, err := l.ssh.SendRequest("keepalive@openssh.com", true, nil)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = time.Time{}
}

// moving notes what moves through a session.
type moving struct {
	io.Reader
	io.WriteCloser
	link *link
}

func (m moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.link.move()
	return n, err
}

func (m moving) Write(p []byte) (int, error) {
	n, err := m.WriteCloser.Write(p)
	m.link.move()
	return n, err
}

// call has a call of the session made, and returns its answer, or the end of ctx. Then the
// call is left behind: the server may still do what it was asked, before whatever it is
// asked next.
func call[T any](ctx context.Context, l *link, syncs int, f func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if !l.begin(syncs) {
		return none, errLost
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := f()
		l.end(syncs)
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func do(ctx context.Context, l *link, f func() error) error {
	_, err := call(ctx, l, 0, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (l *link) lstat(ctx context.Context, at string) (fs.FileInfo, error) {
	return call(ctx, l, 0, func() (fs.FileInfo, error) { return l.client.Lstat(at) })
}

func (l *link) stat(ctx context.Context, at string) (fs.FileInfo, error) {
	return call(ctx, l, 0, func() (fs.FileInfo, error) { return l.client.Stat(at) })
}

func (l *link) fstat(ctx context.Context, f *pkgsftp.File) (fs.FileInfo, error) {
	return call(ctx, l, 0, f.Stat)
}

func (l *link) readDir(ctx context.Context, at string) ([]fs.FileInfo, error) {
	return call(ctx, l, 0, func() ([]fs.FileInfo, error) { return l.client.ReadDir(at) })
}

func (l *link) open(ctx context.Context, at string, flags int) (*pkgsftp.File, error) {
	return call(ctx, l, 0, func() (*pkgsftp.File, error) { return l.client.OpenFile(at, flags) })
}

func (l *link) remove(ctx context.Context, at string) error {
	err := do(ctx, l, func() error { return l.client.Remove(at) })
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (l *link) write(ctx context.Context, f *pkgsftp.File, p []byte, at int64) error {
	if len(p) == 0 {
		return nil
	}
	return do(ctx, l, func() error { _, err := f.WriteAt(p, at); return err })
}

// sync has a file written to the server's disk, if the server can do that.
func (l *link) sync(ctx context.Context, f *pkgsftp.File) error {
	if !l.has(extFsync) {
		return nil
	}
	_, err := call(ctx, l, 1, func() (struct{}, error) { return struct{}{}, f.Sync() })
	return err
}

// Extensions of the protocol.
const (
	extFsync       = "fsync@openssh.com"
	extHardlink    = "hardlink@openssh.com"
	extPosixRename = "posix-rename@openssh.com"
	extStatVFS     = "statvfs@openssh.com"
)

func (l *link) has(extension string) bool {
	_, ok := l.client.HasExtension(extension)
	return ok
}
