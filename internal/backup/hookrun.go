package backup

import (
	"context"
	"fmt"
	"maps"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
)

// hookRun is one container's hooks in one attempt. Its zero value has none.
//
// The undo record of the attempt holds what pending returns before pre is called, and post
// is called whatever came of pre, once the container has been let go. So a command
// that is to undo what pre did is run also if pre failed half-way or its worker
// died; it may be run more than once, and while a pre that was given up still runs.
type hookRun struct {
	execer  engine.Execer
	log     *zap.Logger
	item    events.Item
	hooks   hook.Hooks
	begun   bool
	results []events.HookResult
}

// hooksOf returns the hooks that are to be run for a container as it is now: none
// if it does not run or is paused, or if the host forbids hooks.
func (b *Runner) hooksOf(item events.Item, c *engine.ContainerDetail, ignored []string) (*hookRun, error) {
	run := &hookRun{execer: b.Engine, log: b.Log, item: item}
	labels := maps.Clone(c.Labels)
	for _, label := range ignored {
		delete(labels, label)
	}
	switch {
	case c.State != events.StateRunning || !hook.Declared(labels):
		return run, nil
	case !b.HooksAllowed:
		b.Log.Info("the container's hooks are not run: this host forbids them (policy.hooks)", zap.String("container", item.Name))
		return run, nil
	}
	var err error
	if run.hooks, err = hook.Parse(labels); err != nil {
		return nil, &ItemError{Step: events.StepHook, Code: events.CodeBadLabel, Err: fmt.Errorf("container %s: %w", item.Name, err)}
	}
	return run, nil
}

// pending is the command that is to be run once pre was called; nil for none.
func (h *hookRun) pending() *hook.Command { return h.hooks.Post }

// pre runs the command before the quiesce. If it fails, and the labels do not say
// to go on, the item fails; so it does if ctx ends, the Engine is away or the
// container is gone, whatever the labels say. An error is an *ItemError.
func (h *hookRun) pre(ctx context.Context) error {
	h.begun = true
	if h.hooks.Pre == nil {
		return nil
	}
	result, err := hook.Run(ctx, h.execer, h.item.ID, events.HookPre, h.hooks.Pre)
	if err != nil {
		return failed(ctx, events.StepHook, err, "run %s of container %s", hook.LabelPre, h.item.Name)
	}
	h.results = append(h.results, result)
	switch {
	case result.Error == "":
		return nil
	case h.hooks.Continue:
		h.log.Warn("the hook before the snapshot failed, and the backup goes on", zap.String("container", h.item.Name), zap.String("why", result.Error))
		return nil
	}
	return &ItemError{Step: events.StepHook, Code: events.CodeHookFailed, Retryable: true,
		Err: fmt.Errorf("container %s is left as it was: the command of its label %s %s", h.item.Name, hook.LabelPre, result.Error)}
}

// post runs the command after the container was let go, if pre was called. A
// command that fails is only taken down: the snapshot is good all the same. It
// returns nil if nothing is left to be run, and otherwise why the command could not be
// run: it stays in the undo record then, for the Sweeper.
func (h *hookRun) post(ctx context.Context) error {
	if !h.begun || h.hooks.Post == nil {
		return nil
	}
	result, err := hook.RunPost(ctx, h.execer, h.item.ID, h.hooks.Post)
	if err != nil {
		return err
	}
	h.results = append(h.results, result)
	if result.Error != "" {
		h.log.Warn("the hook after the snapshot failed; look at the container", zap.String("container", h.item.Name), zap.String("why", result.Error))
	}
	return nil
}
