package engine

import (
	"context"
	"errors"
)

// ErrNotRunning is reported for a command in a container that does not run, or
// is paused.
var ErrNotRunning = errors.New("the container does not run")

// ExecOutput is how many bytes of a command's output are kept: the last ones.
const ExecOutput = 4 << 10

// Execer runs commands in containers. It may be used by several goroutines.
type Execer interface {
	// Exec runs a command inside a running container, as the container's own user,
	// without a terminal and without input, and returns when it has ended. A
	// command that cannot be started ends with an exit code of its own, 126 or 127,
	// and an output that says why. Exec reports ErrNotFound and ErrNotRunning.
	//
	// When ctx ends, Exec returns its cause at once. An Engine cannot end a command
	// that it has begun: that runs on until it ends by itself or with its container.
	Exec(ctx context.Context, containerID string, command []string) (ExecResult, error)
}

// ExecResult is what came of a command.
type ExecResult struct {
	ExitCode int
	// Output is the last of what the command wrote to its standard output and
	// standard error together, at most ExecOutput bytes.
	Output []byte
	// Written is how many bytes it wrote in all.
	Written int64
}
