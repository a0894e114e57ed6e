package bus

import (
	"context"
	"errors"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"
)

// denials reports a permission error to the call that was refused. The server says
// it in a message that belongs to no call; without this, the caller would wait for an
// answer until its time is over.
type denials struct {
	mu      sync.Mutex
	waiting map[*asking]struct{}
}

// asking is what somebody asks for, and how it is ended.
type asking struct {
	subjects map[string]bool
	end      context.CancelCauseFunc
}

// unlessDenied returns a context that ends with ErrDenied as soon as the server
// refuses a publication on one of the subjects. Stop is called in the end.
func (d *denials) unlessDenied(ctx context.Context, subjects ...string) (_ context.Context, stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	a := &asking{subjects: map[string]bool{}, end: end}
	for _, s := range subjects {
		a.subjects[s] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = map[*asking]struct{}{}
	}
	d.waiting[a] = struct{}{}
	return ctx, func() {
		d.mu.Lock()
		delete(d.waiting, a)
		d.mu.Unlock()
		end(nil)
	}
}

var deniedSubject = regexp.MustCompile(`Publish to "(\S+)"`)

// report ends the calls that an asynchronous error of the connection is about.
func (d *denials) report(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	found := deniedSubject.FindStringSubmatch(err.Error())
	if found == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.waiting {
		if a.subjects[found[1]] {
			a.end(ErrDenied)
		}
	}
}
