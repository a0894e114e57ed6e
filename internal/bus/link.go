package bus

import (
	"context"
	"sync"
)

// link follows the state of the connection. A session lasts from one connect to
// the next disconnect; what the server holds for a client that is not stored in
// a stream, such as a pull, ends with it.
type link struct {
	mu      sync.Mutex
	session chan struct{} // closed when the session ends
	up      chan struct{} // closed when the next session begins
	closing chan struct{} // closed when Close begins
	closed  chan struct{} // closed when the connection is closed for good
	denials denials
}

// newLink returns a link in its first session.
func newLink() *link {
	return &link{
		session: make(chan struct{}),
		up:      closedChan(),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
}

func closedChan() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// lost ends the session.
func (l *link) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isClosed(l.session) {
		return
	}
	close(l.session)
	l.up = make(chan struct{})
}

// restored begins a session.
func (l *link) restored() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.session) {
		return
	}
	l.session = make(chan struct{})
	close(l.up)
}

// close lets everybody go who waits.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.closing) {
		close(l.closing)
	}
}

// end ends the last session. It is called once.
func (l *link) end() {
	l.lost()
	l.close()
	close(l.closed)
}

// wait returns the session, and waits for one until ctx ends. The channel is
// closed when the session ends. The error is that of ctx, or ErrClosed.
func (l *link) wait(ctx context.Context) (<-chan struct{}, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if isClosed(l.closing) {
			return nil, ErrClosed
		}
		l.mu.Lock()
		session, up := l.session, l.up
		l.mu.Unlock()
		if !isClosed(session) {
			return session, nil
		}
		select {
		case <-up:
		case <-l.closing:
		case <-ctx.Done():
		}
	}
}

// during returns a context that also ends with the session, and then with
// ErrAway. Between two sessions it is ctx: what is tried then fails by itself.
func (l *link) during(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	session := l.session
	l.mu.Unlock()
	if isClosed(session) {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-session:
			cancel(ErrAway)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
