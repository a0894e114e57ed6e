package enginetest

import (
	"context"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// Op is a call of the port.
type Op string

// The calls of the port.
const (
	About           Op = "About"
	Containers      Op = "Containers"
	Images          Op = "Images"
	Inspect         Op = "Inspect"
	Commit          Op = "Commit"
	Stop            Op = "Stop"
	Start           Op = "Start"
	Pause           Op = "Pause"
	Unpause         Op = "Unpause"
	RemoveContainer Op = "RemoveContainer"
	InspectImage    Op = "InspectImage"
	Save            Op = "Save"
	Load            Op = "Load"
	Content         Op = "Content"
	RemoveImage     Op = "RemoveImage"
	Dangling        Op = "Dangling"
	Watch           Op = "Watch"
	Ping            Op = "Ping"
	Time            Op = "Time"
)

var errAway = fmt.Errorf("%w: it is away", engine.ErrEngineUnavailable)

// Fault is one thing that goes wrong, or happens, at a call. A test plans its
// faults, and proves in the end that each was met (see [Fake.Pending]).
type Fault struct {
	Op Op
	// On is the container's id or the image's id or reference that the call is
	// about. Empty means any.
	On string
	// After is the number of such calls that go well before, Times the number of
	// those that go wrong: 0 means one, -1 all that come.
	After, Times int

	// During is called in the midst of the call: when a commit has paused the
	// container and made no image yet, before a save's first byte, and for other
	// calls before anything is done.
	During func()
	// Err is what the call reports, having done nothing; or, with Late set, all
	// that it should. A Save that has a Cut reports it in its stream.
	Err  error
	Late bool
	// GoesOn has a Commit report Err, and nevertheless go on for so long and make its
	// image, as an Engine does whose client has gone.
	GoesOn time.Duration
	// Hang has the call, or after Cut bytes the stream of Save, wait until its
	// ctx ends.
	Hang bool

	// Cut is after how many bytes Save's stream ends, or after how many changes
	// Watch's does: as if that was all, if there is no Err.
	Cut int
	// NoPause and LeavePaused are what an Engine does not report of a commit: that
	// it could not pause the container, or could not let it go.
	NoPause, LeavePaused bool
	// Lag is how much later than they happen Watch sends changes.
	Lag time.Duration

	met int
}

// Plan adds faults.
func (f *Fake) Plan(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range faults {
		f.faults = append(f.faults, &fault)
	}
}

// Pending returns the faults that no call has met as often as planned.
func (f *Fake) Pending() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pending []string
	for _, p := range f.faults {
		if p.met < p.After+max(1, p.Times) {
			pending = append(pending, fmt.Sprintf("%s on %q was called %d times", p.Op, p.On, p.met))
		}
	}
	return pending
}

// Calls returns how often a call was made.
func (f *Fake) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// begin enters a call, and returns what goes wrong with it. An error ends the
// call at once.
func (f *Fake) begin(ctx context.Context, op Op, on string) (Fault, error) {
	f.mu.Lock()
	f.calls[op]++
	away := f.away
	fault := f.next(op, on)
	f.mu.Unlock()

	if away {
		return fault, errAway
	}
	if ctx.Err() != nil {
		return fault, context.Cause(ctx)
	}
	if refusal := f.refusal(callsOf[op]); refusal != nil {
		return fault, refusal
	}
	if op == Commit || op == Save { // they look after it themselves
		return fault, nil
	}
	if err := fault.midst(ctx); err != nil {
		return fault, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away { // by now
		return fault, errAway
	}
	return fault, nil
}

// next returns the fault that a call meets; the zero value if none. It is called
// with the lock held.
func (f *Fake) next(op Op, on string) Fault {
	for _, p := range f.faults {
		if p.Op != op || p.On != "" && p.On != on {
			continue
		}
		if p.Times >= 0 && p.met >= p.After+max(1, p.Times) {
			continue
		}
		if p.met++; p.met > p.After {
			return *p
		}
	}
	return Fault{}
}

// midst is what happens in the midst of a call.
func (p *Fault) midst(ctx context.Context) error {
	if p.During != nil {
		p.During()
	}
	if p.Hang && p.Cut == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if p.Late || p.Cut > 0 {
		return nil
	}
	return p.Err
}

// late is the error of a call that has done its work.
func (p *Fault) late() error {
	if p.Late {
		return p.Err
	}
	return nil
}
