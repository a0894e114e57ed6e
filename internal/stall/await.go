package stall

import (
	"context"
	"time"
)

// leaveBound is how long work is waited for whose ctx has ended. What can be
// interrupted ends in less.
const leaveBound = 500 * time.Millisecond

// Await runs work in a goroutine of its own. It returns when work has ended, or
// within a second after ctx has, and then leaves work to itself: what an Engine or
// a disk does cannot always be interrupted. ended is closed when work has ended.
func Await(ctx context.Context, work func()) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	select {
	case <-done:
		return done
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(leaveBound):
	}
	return done
}

// HasEnded reports whether the work whose ended channel this is has ended.
func HasEnded(ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}
