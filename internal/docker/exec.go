package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"holdfast.io/holdfast/internal/engine"
)

// Exec implements [engine.Execer].
func (e *Engine) Exec(ctx context.Context, containerID string, command []string) (engine.ExecResult, error) {
	result, err := e.exec(ctx, containerID, command)
	if err == nil {
		return result, nil
	}
	if cause := context.Cause(ctx); cause != nil { // a stream that was closed for it tells less
		return engine.ExecResult{}, cause
	}
	if errdefs.IsConflict(err) {
		return engine.ExecResult{}, fmt.Errorf("%w: %w", engine.ErrNotRunning, err)
	}
	return engine.ExecResult{}, e.translate(err)
}

func (e *Engine) exec(ctx context.Context, containerID string, command []string) (engine.ExecResult, error) {
	made, err := e.api.ContainerExecCreate(ctx, containerID, container.ExecOptions{
		Cmd: command, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return engine.ExecResult{}, err
	}
	if made.ID == "" {
		return engine.ExecResult{}, badAnswer("it says that a command is set up in container %s, and not under which id", containerID)
	}
	stream, err := e.hijack(ctx, engine.CallExecStart, func() (types.HijackedResponse, error) {
		return e.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	})
	if err != nil {
		return engine.ExecResult{}, err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var output tail
	if _, err := stdcopy.StdCopy(&output, &output, stream.Reader); err != nil {
		return engine.ExecResult{}, err
	}
	code, err := e.exitCode(ctx, made.ID)
	return engine.ExecResult{ExitCode: code, Output: output.last, Written: output.written}, err
}

// exitPoll is how often a command is looked at whose output has ended.
const exitPoll = 100 * time.Millisecond

// exitCode returns how a command ended. Its output can end before it does.
func (e *Engine) exitCode(ctx context.Context, execID string) (int, error) {
	poll := time.NewTicker(exitPoll)
	defer poll.Stop()
	for {
		state, err := e.api.ContainerExecInspect(ctx, execID)
		if err != nil || !state.Running {
			return state.ExitCode, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// tail keeps the end of what is written to it, and counts it.
type tail struct {
	last    []byte
	written int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.written += int64(len(p))
	t.last = append(t.last, p[max(0, len(p)-engine.ExecOutput):]...)
	if over := len(t.last) - engine.ExecOutput; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(p), nil
}
