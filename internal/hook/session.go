package hook

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Errors of a container's hooks.
var (
	// ErrBadLabel: a label of the container cannot be read.
	ErrBadLabel = errors.New("a label cannot be read")
	// ErrFailed: the command before the snapshot failed, and the labels do not say to
	// go on.
	ErrFailed = errors.New("the command before the snapshot failed")
)

// Runner runs the hooks of containers. Its fields are not changed once it is in use.
type Runner struct {
	Execer engine.Execer
	// Allowed lets the commands run that the labels of containers name.
	Allowed bool
	// ShowOutput has the last line quoted that a failing command wrote. It may hold
	// secrets of the container, and goes into events, the ledger and logs.
	ShowOutput bool
	Log        *zap.Logger
}

// Session is one container's hooks in one attempt. One goroutine uses it.
//
// The undo record of the attempt holds what Pending returns before Pre is called, and
// Post is called whatever came of Pre, once the container has been resumed. So a
// command that is to undo what Pre did is run also if Pre failed half-way or its
// worker died; it may be run more than once, and while a Pre that was given up still
// runs.
type Session struct {
	runner  Runner
	id      string
	name    string
	hooks   Hooks
	begun   bool
	results []events.HookResult
}

// Open returns the hooks that are to be run for a container as it is now: none if it
// does not run or is paused, or if the host forbids hooks. Labels that are ignored
// count as not there. It reports ErrBadLabel.
func (h Runner) Open(c *engine.ContainerDetail, ignored []string) (*Session, error) {
	s := &Session{runner: h, id: c.ID, name: c.Name}
	labels := maps.Clone(c.Labels)
	for _, label := range ignored {
		delete(labels, label)
	}
	switch {
	case c.State != events.StateRunning || !Declared(labels):
		return s, nil
	case !h.Allowed:
		h.Log.Info("the container's hooks are not run: this host forbids them (policy.hooks)", zap.String("container", c.Name))
		return s, nil
	}
	var err error
	if s.hooks, err = Parse(labels); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadLabel, err)
	}
	return s, nil
}

// Declared reports whether commands are to be run.
func (s *Session) Declared() bool { return s.hooks.Pre != nil || s.hooks.Post != nil }

// Pending is the command that is to be run once Pre was called; nil for none.
func (s *Session) Pending() *Command { return s.hooks.Post }

// Results are what came of the commands so far.
func (s *Session) Results() []events.HookResult { return s.results }

// Pre runs the command before the quiesce. It reports ErrFailed; and an error also if
// ctx ends, the Engine is away or the container is gone, whatever the labels say.
func (s *Session) Pre(ctx context.Context) error {
	s.begun = true
	if s.hooks.Pre == nil {
		return nil
	}
	result, err := s.runner.run(ctx, s.id, events.HookPre, s.hooks.Pre)
	if err != nil {
		return fmt.Errorf("run %s: %w", LabelPre, err)
	}
	s.results = append(s.results, result)
	switch {
	case result.Error == "":
		return nil
	case s.hooks.Continue:
		s.runner.Log.Warn("the hook before the snapshot failed, and the backup goes on",
			zap.String("container", s.name), zap.String("why", result.Error))
		return nil
	}
	return fmt.Errorf("%w, so the container is left as it was: the command of its label %s %s", ErrFailed, LabelPre, result.Error)
}

// Post runs the command after the container was resumed, if Pre was called. A command
// that fails is only taken down: the snapshot is good all the same. It returns nil if
// nothing is left to be run, and otherwise why the command could not be run: it stays
// in the undo record then, for the Sweeper.
func (s *Session) Post(ctx context.Context) error {
	if !s.begun || s.hooks.Post == nil {
		return nil
	}
	result, err := s.runner.RunPost(ctx, s.id, s.hooks.Post)
	if err != nil {
		return err
	}
	s.results = append(s.results, result)
	if result.Error != "" {
		s.runner.Log.Warn("the hook after the snapshot failed; look at the container",
			zap.String("container", s.name), zap.String("why", result.Error))
	}
	return nil
}
