package enginetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Stop implements [engine.Containers].
func (f *Fake) Stop(ctx context.Context, id string) error {
	return f.change(ctx, Stop, id, func(c *container) error {
		if c.state != events.StateRunning && c.state != events.StateRestarting && c.state != events.StatePaused {
			return nil
		}
		f.die(c)
		c.exit = c.StopExit
		f.emit(engine.ActionStop, c.id, "")
		if c.AutoRemove {
			delete(f.containers, c.id)
		}
		return nil
	})
}

// Start implements [engine.Containers].
func (f *Fake) Start(ctx context.Context, id string) error {
	return f.change(ctx, Start, id, func(c *container) error {
		switch c.state {
		case events.StateRunning:
			return nil
		case events.StatePaused:
			return fmt.Errorf("cannot start a paused container")
		default:
		}
		for _, id := range c.shares() {
			if other := f.containers[id]; other == nil || other.state != events.StateRunning && other.state != events.StatePaused {
				return fmt.Errorf("cannot join the namespaces of container %s, which does not run", id)
			}
		}
		f.start(c)
		return nil
	})
}

// RemoveContainer implements [engine.Containers].
func (f *Fake) RemoveContainer(ctx context.Context, id string) error {
	err := f.change(ctx, RemoveContainer, id, func(c *container) error {
		f.die(c)
		delete(f.containers, c.id)
		return nil
	})
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return err
}

// Pause implements [engine.Containers].
func (f *Fake) Pause(ctx context.Context, id string) error {
	return f.change(ctx, Pause, id, func(c *container) error {
		if !f.pause(c) {
			return fmt.Errorf("container %s is %s", c.id, c.state)
		}
		return nil
	})
}

// Unpause implements [engine.Containers].
func (f *Fake) Unpause(ctx context.Context, id string) error {
	return f.change(ctx, Unpause, id, func(c *container) error {
		f.unpause(c)
		return nil
	})
}

// change is a call that changes a container.
func (f *Fake) change(ctx context.Context, op Op, id string, change func(c *container) error) error {
	fault, err := f.begin(ctx, op, id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.container(id)
	if err != nil {
		return err
	}
	if err := change(c); err != nil {
		return err
	}
	return fault.late()
}

// Commit implements [engine.Containers]. As a Docker Engine does, it pauses only
// what runs, reports nothing of its pausing, and resumes what it has paused.
func (f *Fake) Commit(ctx context.Context, id string, o engine.CommitOptions) (string, error) {
	fault, err := f.begin(ctx, Commit, id)
	if err != nil {
		return "", err
	}
	paused, err := f.beginCommit(id, o.Pause && !fault.NoPause)
	if err != nil {
		return "", err
	}
	err = fault.midst(ctx)
	if fault.GoesOn > 0 {
		time.AfterFunc(fault.GoesOn, func() { _, _ = f.endCommit(id, o, paused, Fault{}, nil) })
		return "", err
	}
	return f.endCommit(id, o, paused, fault, err)
}

// endCommit makes the image, unless err has happened, and lets the container go.
func (f *Fake) endCommit(id string, o engine.CommitOptions, paused bool, fault Fault, err error) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return "", errAway
	}
	c, gone := f.container(id)
	if gone != nil {
		return "", cmp.Or(err, gone)
	}
	imageID := ""
	if err == nil {
		imageID = f.commit(c, o)
		f.emit(engine.ActionCommit, id, imageID)
		err = fault.late()
	}
	if paused && !fault.LeavePaused {
		f.unpause(c)
	}
	if err != nil {
		return "", err
	}
	return imageID, nil
}

func (f *Fake) beginCommit(id string, pause bool) (paused bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.container(id)
	if err != nil {
		return false, err
	}
	if c.state == events.StateDead || c.state == events.StateRemoving {
		return false, fmt.Errorf("container %s is %s", id, c.state)
	}
	if f.images[c.image] == nil && !f.streams {
		return false, engine.BaseMissing(c.image)
	}
	return pause && f.pause(c), nil
}

// The methods below are called with the lock held.

func (f *Fake) pause(c *container) bool {
	if c.state != events.StateRunning {
		return false
	}
	c.state = events.StatePaused
	f.emit(engine.ActionPause, c.id, "")
	return true
}

func (f *Fake) unpause(c *container) {
	if c.state == events.StatePaused {
		c.state = events.StateRunning
		f.emit(engine.ActionUnpause, c.id, "")
	}
}

func (f *Fake) start(c *container) {
	c.state, c.started, c.exit = events.StateRunning, time.Now(), 0
	f.emit(engine.ActionStart, c.id, "")
	if started := c.started; c.EndsAfter > 0 {
		time.AfterFunc(c.EndsAfter, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if c.state == events.StateRunning && c.started.Equal(started) {
				f.die(c)
				c.exit = 1
			}
		})
	}
}

func (f *Fake) die(c *container) {
	was := c.state
	c.state = events.StateExited
	if was == events.StateRunning || was == events.StatePaused {
		f.emit(engine.ActionDie, c.id, "")
	}
}
