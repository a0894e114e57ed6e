package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Exec is the call of [engine.Execer].
const Exec Op = "Exec"

// Script is what commands do in a container of a [Fake]. It may use the Fake, and
// returns when ctx ends.
type Script func(ctx context.Context, command []string) engine.ExecResult

// Script says what commands do in a container. Until then it can run
// [Program].
func (f *Fake) Script(id string, s Script) {
	f.do(id, func(c *container) { c.script = s })
}

// Exec implements [engine.Execer].
func (f *Fake) Exec(ctx context.Context, id string, command []string) (engine.ExecResult, error) {
	fault, err := f.begin(ctx, Exec, id)
	if err != nil {
		return engine.ExecResult{}, err
	}
	script, err := f.scriptOf(id)
	if err != nil {
		return engine.ExecResult{}, err
	}
	result := script(ctx, command)
	if ctx.Err() != nil {
		return engine.ExecResult{}, context.Cause(ctx)
	}
	result.Written = int64(len(result.Output))
	result.Output = bytes.Clone(result.Output[max(0, len(result.Output)-engine.ExecOutput):])
	return result, fault.late()
}

func (f *Fake) scriptOf(id string) (Script, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.container(id)
	switch {
	case err != nil:
		return nil, err
	case c.state != events.StateRunning:
		return nil, fmt.Errorf("%w: container %s is %s", engine.ErrNotRunning, id, c.state)
	case c.script == nil:
		return program, nil
	}
	return c.script, nil
}

// Program is the one program in the images of a [Bench]. Without arguments it
// does nothing until it is told to end. With the argument say and three more it
// writes the first of them to its standard output and the second to its standard
// error, and ends with the third as its exit code. With fill and a number it
// writes that many bytes: x, and a dot as the last. With keep and the path of a file
// it writes what it reads there, and with show it writes what is there; both end
// with an exit code if they cannot, and say on their standard error why.
const Program = "/idle"

// program does what Program does.
func program(ctx context.Context, command []string) engine.ExecResult {
	switch {
	case command[0] != Program:
		return engine.ExecResult{ExitCode: 126, Output: fmt.Appendf(nil, "no program %s\n", command[0])}
	case len(command) == 1:
		<-ctx.Done()
		return engine.ExecResult{}
	case command[1] == "say":
		return engine.ExecResult{ExitCode: number(command[4]), Output: []byte(command[2] + command[3])}
	case command[1] == "fill":
		return engine.ExecResult{Output: append(bytes.Repeat([]byte("x"), number(command[2])-1), '.')}
	}
	panic(fmt.Sprintf("enginetest: the program cannot %q", command))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("enginetest: " + err.Error())
	}
	return n
}
