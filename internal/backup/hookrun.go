package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
)

// hookRun is one container's hooks in one attempt. Its zero value has none.
//
// The note of the attempt holds what owed returns before pre is called, and post
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
func (b *Backuper) hooksOf(item events.Item, c *engine.ContainerDetail, ignored []string) (*hookRun, error) {
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

// owed is the command that is to be run once pre was called; nil for none.
func (h *hookRun) owed() *hook.Command { return h.hooks.Post }

// pre runs the command before the quiesce. If it fails, and the labels do not say
// to go on, the item fails; so it does if ctx ends, the Engine is away or the
// container is gone, whatever the labels say. An error is an *ItemError.
func (h *hookRun) pre(ctx context.Context) error {
	h.begun = true
	if h.hooks.Pre == nil {
		return nil
	}
	result, err := runHook(ctx, h.execer, h.item.ID, events.HookPre, h.hooks.Pre)
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
// returns nil if nothing is owed to the container any more, and otherwise why the
// command could not be run: it stays in the note then, for the undoing.
func (h *hookRun) post(ctx context.Context) error {
	if !h.begun || h.hooks.Post == nil {
		return nil
	}
	result, err := postHook(ctx, h.execer, h.log, h.item, h.hooks.Post)
	if err == nil {
		h.results = append(h.results, result)
	}
	return err
}

// runPost runs the command that a note owes to its container, which has been let
// go. It returns nil if nothing is owed any more, and otherwise why it has to be
// tried again: the Engine is away, or ctx has ended.
func runPost(ctx context.Context, execer engine.Execer, log *zap.Logger, n *Note) error {
	if n.Post == nil {
		return nil
	}
	_, err := postHook(ctx, execer, log, n.Item, n.Post)
	return err
}

// postHook runs a command after the snapshot. A container that is gone needs it no
// more.
func postHook(ctx context.Context, execer engine.Execer, log *zap.Logger, item events.Item, h *hook.Command) (events.HookResult, error) {
	result, err := runHook(ctx, execer, item.ID, events.HookPost, h)
	if errors.Is(err, engine.ErrNotFound) {
		result, err = events.HookResult{When: events.HookPost, ExitCode: -1, Error: "was not run: the container is gone"}, nil
	}
	if err != nil {
		return result, fmt.Errorf("run %s of container %s: %w", hook.LabelPost, item.Name, err)
	}
	if result.Error != "" {
		log.Warn("the hook after the snapshot failed; look at the container", zap.String("container", item.Name), zap.String("why", result.Error))
	}
	return result, nil
}

// errHookTimeout is the cause of a command's own bound.
var errHookTimeout = errors.New("the hook's timeout has passed")

// runHook runs a command, and says what came of it. Whatever is the command's own
// or the container's fault is in the result. An error says that nothing is known
// of it: ctx ended, or the Engine or the container is not there.
func runHook(ctx context.Context, execer engine.Execer, containerID string, when events.HookWhen, h *hook.Command) (events.HookResult, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, h.Timeout, errHookTimeout)
	defer cancel()
	began := time.Now()
	r, err := execer.Exec(bounded, containerID, h.Command)
	result := events.HookResult{When: when, ExitCode: r.ExitCode, Millis: time.Since(began).Milliseconds()}
	switch {
	case err == nil && r.ExitCode == 0:
		return result, nil
	case err == nil:
		result.Error = fmt.Sprintf("ended with exit code %d", r.ExitCode)
		if line := lastLine(r.Output); line != "" {
			result.Error += " and said " + line
		}
		return result, nil
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case errors.Is(err, engine.ErrEngineUnavailable), errors.Is(err, engine.ErrNotFound):
		return result, err
	}
	result.ExitCode = -1
	switch {
	case errors.Is(err, errHookTimeout):
		result.Error = fmt.Sprintf("did not end within %s, and may still run; see %s", h.Timeout, hook.LabelTimeout)
	case errors.Is(err, engine.ErrNotRunning):
		result.Error = "was not run: the container does not run, or is paused"
	default:
		result.Error = fmt.Sprintf("could not be run: %.*q", maxHookLine, err.Error())
	}
	return result, nil
}

// maxHookLine bounds what is quoted of a command's output, in characters.
const maxHookLine = 200

// lastLine quotes the last line of an output that is not blank, with control
// characters escaped; it is empty if there is none.
func lastLine(output []byte) string {
	text := strings.TrimSpace(string(output))
	line := strings.TrimSpace(text[strings.LastIndexAny(text, "\r\n")+1:])
	if line == "" {
		return ""
	}
	quoted := fmt.Sprintf("%.*q", maxHookLine, line)
	if utf8.RuneCountInString(line) > maxHookLine {
		quoted += "…"
	}
	return quoted
}
