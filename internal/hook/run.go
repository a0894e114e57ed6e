package hook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// errTimeout is the cause of a command's own bound.
var errTimeout = errors.New("the hook's timeout has passed")

// run runs a command in a container, and says what came of it. Whatever is the
// command's own or the container's fault is in the result. An error says that
// nothing is known of the command: ctx ended, or the Engine or the container is not
// there, or refuses the call.
func (h Runner) run(ctx context.Context, containerID string, when events.HookWhen, c *Command) (events.HookResult, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
	defer cancel()
	began := time.Now()
	r, err := h.Execer.Exec(bounded, containerID, c.Command)
	result := events.HookResult{When: when, ExitCode: r.ExitCode, OutputBytes: r.Written, Millis: time.Since(began).Milliseconds()}
	switch {
	case err == nil && r.ExitCode == 0:
		return result, nil
	case err == nil:
		result.Error = fmt.Sprintf("ended with exit code %d%s", r.ExitCode, meaning[r.ExitCode])
		if line := lastLine(r.Output); h.ShowOutput && line != "" {
			result.Error += " and said " + line
		} else if r.Written > 0 {
			result.Error += fmt.Sprintf(" and wrote %d bytes", r.Written)
		}
		return result, nil
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case errors.Is(err, engine.ErrEngineUnavailable), errors.Is(err, engine.ErrNotFound), errors.Is(err, engine.ErrRefused):
		return result, err
	}
	result.ExitCode = -1
	switch {
	case errors.Is(err, errTimeout):
		result.Error = fmt.Sprintf("did not end within %s, and may still run; see %s", c.Timeout, LabelTimeout)
	case errors.Is(err, engine.ErrNotRunning):
		result.Error = "was not run: the container does not run, or is paused"
	default:
		result.Error = fmt.Sprintf("could not be run: %.*q", maxLine, err.Error())
	}
	return result, nil
}

// RunPost runs the command after the snapshot. A container that is gone needs it no
// more.
func (h Runner) RunPost(ctx context.Context, containerID string, c *Command) (events.HookResult, error) {
	result, err := h.run(ctx, containerID, events.HookPost, c)
	if errors.Is(err, engine.ErrNotFound) {
		return events.HookResult{When: events.HookPost, ExitCode: -1, Error: "was not run: the container is gone"}, nil
	}
	if err != nil {
		return result, fmt.Errorf("run %s: %w", LabelPost, err)
	}
	return result, nil
}

// meaning is what shells and Engines mean by an exit code.
var meaning = map[int]string{
	126: " (the program cannot be executed)", 127: " (the program was not found)", 137: " (it was killed)",
}

// maxLine bounds what is quoted of a command's output, in characters.
const maxLine = 200

// lastLine quotes the last line of an output that is not blank, with control
// characters escaped; it is empty if there is none.
func lastLine(output []byte) string {
	text := strings.TrimSpace(string(output))
	line := strings.TrimSpace(text[strings.LastIndexAny(text, "\r\n")+1:])
	if line == "" {
		return ""
	}
	quoted := fmt.Sprintf("%.*q", maxLine, line)
	if utf8.RuneCountInString(line) > maxLine {
		quoted += "…"
	}
	return quoted
}
