package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// runExec holds an Engine to [engine.Execer].
func (s *suite) runExec(t *testing.T) {
	t.Run("Exec", s.exec)
	t.Run("ExecKeepsTheLastOutput", s.execOutput)
	t.Run("ExecOfWhatCannotStart", s.execNoProgram)
	t.Run("ExecEndsWithItsContext", s.execEnds)
	t.Run("ExecNeedsARunningContainer", s.execNotRunning)
}

func (s *suite) exec(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	for _, code := range []int{0, 1, 42, 255} {
		r, err := t.Bench.Exec(t.ctx, id, []string{Program, "say", "a $HOME\n", "b 'c", fmt.Sprint(code)})
		t.must(err)
		// The two streams may overtake each other.
		if got := string(r.Output); r.ExitCode != code || got != "a $HOME\nb 'c" && got != "b 'ca $HOME\n" {
			t.Errorf("the command ended with %d and said %q, want %d and both that it was told", r.ExitCode, got, code)
		}
	}
}

func (s *suite) execOutput(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	for _, n := range []int{1, engine.ExecOutput, engine.ExecOutput + 1, 1 << 20} {
		r, err := t.Bench.Exec(t.ctx, id, []string{Program, "fill", fmt.Sprint(n)})
		t.must(err)
		if r.Written != int64(n) {
			t.Errorf("of %d bytes of output %d are counted", n, r.Written)
		}
		want := strings.Repeat("x", min(n, engine.ExecOutput)-1) + "."
		if string(r.Output) != want {
			t.Errorf("of %d bytes of output %d are kept, that end in %q; want %d, the last of them",
				n, len(r.Output), r.Output[max(0, len(r.Output)-3):], len(want))
		}
	}
}

func (s *suite) execNoProgram(tt *testing.T) {
	t := s.begin(tt)
	r, err := t.Bench.Exec(t.ctx, t.running(Spec{}), []string{"/nosuch", "say"})
	t.must(err)
	if !slices.Contains([]int{126, 127}, r.ExitCode) || !strings.Contains(string(r.Output), "/nosuch") {
		t.Errorf("it ended with %d and said %q, want 126 or 127 and what is not there", r.ExitCode, r.Output)
	}
}

func (s *suite) execEnds(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.ctx, time.Second, cause)
	defer cancel()
	if _, err := t.Bench.Exec(ctx, id, []string{Program}); !errors.Is(err, cause) {
		t.Errorf("a command that does not end reports %v, want the cause of its context", err)
	}
	if t.ctx.Err() != nil {
		t.Error("it did not return when its context ended")
	}
	if _, err := t.Bench.Exec(ctx, id, []string{Program, "say", "", "", "0"}); !errors.Is(err, cause) {
		t.Errorf("after its context has ended it reports %v, want the cause", err)
	}
}

func (s *suite) execNotRunning(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{})
	want := func(state string, want error) {
		t.Helper()
		if _, err := t.Bench.Exec(t.ctx, id, []string{Program, "say", "", "", "0"}); !errors.Is(err, want) {
			t.Errorf("in a container that is %s it reports %v, want %v", state, err, want)
		}
	}
	want("created", engine.ErrNotRunning)
	t.must(t.Start(t.ctx, id))
	t.must(t.Bench.Pause(t.ctx, id))
	want("paused", engine.ErrNotRunning)
	t.must(t.Unpause(t.ctx, id))
	want("running", nil)
	t.must(t.Stop(t.ctx, id))
	want("exited", engine.ErrNotRunning)
	id = strings.Repeat("0123456789abcdef", 4)
	want("gone", engine.ErrNotFound)
}
