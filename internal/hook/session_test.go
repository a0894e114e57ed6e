package hook

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Causes of a context.
var (
	errCancelled  = errors.New("the job was cancelled")
	errJobTimeout = errors.New("the timeout has passed")
)

// execer is an Engine that only runs commands, and knows what was run.
type execer struct {
	engine.Engine
	run  func(ctx context.Context, program string) (engine.ExecResult, error)
	done []string
}

func (e *execer) Exec(ctx context.Context, id string, command []string) (engine.ExecResult, error) {
	e.done = append(e.done, id+" "+strings.Join(command, " "))
	return e.run(ctx, command[0])
}

// ending returns what programs end with that are named by an exit code, and "ok".
func ending(ctx context.Context, program string) (engine.ExecResult, error) {
	switch program {
	case "ok":
		return engine.ExecResult{Output: []byte("fine\n")}, nil
	case "bad":
		return engine.ExecResult{ExitCode: 3, Output: []byte("first\nno \x1b[31mroom\n\n")}, nil
	case "mute":
		return engine.ExecResult{ExitCode: 1, Output: []byte(" \n")}, nil
	case "hang":
		<-ctx.Done()
		return engine.ExecResult{}, context.Cause(ctx)
	case "away":
		return engine.ExecResult{}, fmt.Errorf("%w: connection refused", engine.ErrEngineUnavailable)
	case "gone":
		return engine.ExecResult{}, fmt.Errorf("%w: no such container", engine.ErrNotFound)
	case "stands":
		return engine.ExecResult{}, fmt.Errorf("%w: it is exited", engine.ErrNotRunning)
	}
	return engine.ExecResult{}, errors.New("cannot " + program)
}

// withHooks returns the hooks of a running container with these labels, the
// Engine that runs them, and what is logged.
func withHooks(t *testing.T, labels map[string]string) (*Session, *execer, *observer.ObservedLogs) {
	t.Helper()
	core, logged := observer.New(zapcore.InfoLevel)
	e := &execer{run: ending}
	r := Runner{Execer: e, Allowed: true, ShowOutput: true, Log: zap.New(core)}
	h, err := r.Open(&engine.ContainerDetail{ID: "c1", Name: "web", State: events.StateRunning, Labels: labels}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h, e, logged
}

func TestHooks(t *testing.T) {
	bad := events.HookResult{When: events.HookPre, ExitCode: 3, Error: `ended with exit code 3 and said "no \x1b[31mroom"`}
	good := func(when events.HookWhen) events.HookResult { return events.HookResult{When: when} }
	cases := map[string]struct {
		labels   map[string]string
		results  []events.HookResult
		failed   string // part of the message of the failure of pre
		ran      []string
		warnings int
	}{
		"none": {},
		"both": {labels: map[string]string{LabelPre: `["ok","x"]`, LabelPost: `["ok"]`},
			results: []events.HookResult{good("pre"), good("post")}, ran: []string{"c1 ok x", "c1 ok"}},
		"only before": {labels: map[string]string{LabelPre: `["ok"]`}, results: []events.HookResult{good("pre")}, ran: []string{"c1 ok"}},
		"only after":  {labels: map[string]string{LabelPost: `["ok"]`}, results: []events.HookResult{good("post")}, ran: []string{"c1 ok"}},
		"the first fails, and the second is run": {labels: map[string]string{LabelPre: `["bad"]`, LabelPost: `["ok"]`},
			results: []events.HookResult{bad, good("post")}, ran: []string{"c1 bad", "c1 ok"},
			failed: `the container is left as it was: the command of its label holdfast.hook.pre ended with exit code 3 and said "no \x1b[31mroom"`},
		"the first fails without a word": {labels: map[string]string{LabelPre: `["mute"]`},
			results: []events.HookResult{{When: "pre", ExitCode: 1, Error: "ended with exit code 1"}}, ran: []string{"c1 mute"},
			failed: "exit code 1"},
		"the first fails, and it goes on": {labels: map[string]string{LabelPre: `["bad"]`, LabelOnError: "continue"},
			results: []events.HookResult{bad}, ran: []string{"c1 bad"}, warnings: 1},
		"the first cannot be run": {labels: map[string]string{LabelPre: `["fly"]`},
			results: []events.HookResult{{When: "pre", ExitCode: -1, Error: `could not be run: "cannot fly"`}},
			ran:     []string{"c1 fly"}, failed: "cannot fly"},
		"the first does not end": {labels: map[string]string{LabelPre: `["hang"]`, LabelTimeout: "3s"},
			results: []events.HookResult{{When: "pre", ExitCode: -1, Millis: 3000,
				Error: "did not end within 3s, and may still run; see holdfast.hook.timeout"}},
			ran: []string{"c1 hang"}, failed: "did not end within 3s"},
		"the container stands by now": {labels: map[string]string{LabelPre: `["stands"]`},
			results: []events.HookResult{{When: "pre", ExitCode: -1, Error: "was not run: the container does not run, or is paused"}},
			ran:     []string{"c1 stands"}, failed: "does not run"},
		"the second fails": {labels: map[string]string{LabelPost: `["mute"]`},
			results: []events.HookResult{{When: "post", ExitCode: 1, Error: "ended with exit code 1"}}, ran: []string{"c1 mute"}, warnings: 1},
		"the second does not end": {labels: map[string]string{LabelPost: `["hang"]`},
			results: []events.HookResult{{When: "post", ExitCode: -1, Millis: 30000,
				Error: "did not end within 30s, and may still run; see holdfast.hook.timeout"}},
			ran: []string{"c1 hang"}, warnings: 1},
		"the second finds the container gone": {labels: map[string]string{LabelPost: `["gone"]`},
			results: []events.HookResult{{When: "post", ExitCode: -1, Error: "was not run: the container is gone"}},
			ran:     []string{"c1 gone"}, warnings: 1},
		"the second finds it standing": {labels: map[string]string{LabelPost: `["stands"]`},
			results: []events.HookResult{{When: "post", ExitCode: -1, Error: "was not run: the container does not run, or is paused"}},
			ran:     []string{"c1 stands"}, warnings: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, engine, logged := withHooks(t, c.labels)
				err := h.Pre(t.Context())
				if c.failed == "" && err != nil {
					t.Errorf("pre reports %v", err)
				}
				if c.failed != "" {
					if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), c.failed) {
						t.Errorf("pre reports %v, want ErrFailed with %q", err, c.failed)
					}
				}
				if err := h.Post(t.Context()); err != nil {
					t.Errorf("post reports %v", err)
				}
				if !reflect.DeepEqual(h.results, c.results) {
					t.Errorf("the results are %+v, want %+v", h.results, c.results)
				}
				if !slices.Equal(engine.done, c.ran) {
					t.Errorf("run were %q, want %q", engine.done, c.ran)
				}
				if logged.Len() != c.warnings {
					t.Errorf("logged is %v, want %d entries", logged.All(), c.warnings)
				}
			})
		})
	}
}

// What is no fault of the command is reported as what it is, also if it is
// to go on when the command fails.
func TestHookThatIsNotToBlame(t *testing.T) {
	ended, end := context.WithCancelCause(t.Context())
	end(errJobTimeout)
	cases := map[string]struct {
		ctx     context.Context
		program string
		cause   error
	}{
		"the Engine is away":    {t.Context(), "away", engine.ErrEngineUnavailable},
		"the container is gone": {t.Context(), "gone", engine.ErrNotFound},
		"the job's time is up":  {ended, "hang", errJobTimeout},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, _, _ := withHooks(t, map[string]string{LabelPre: `["` + c.program + `"]`, LabelOnError: "continue"})
			err := h.Pre(c.ctx)
			if errors.Is(err, ErrFailed) || !errors.Is(err, c.cause) || len(h.results) > 0 {
				t.Errorf("it reports %v with the results %v, want %v", err, h.results, c.cause)
			}
		})
	}
}

// A command that could not be run is still to be run, by whoever undoes the record.
func TestHookThatIsStillToBeRun(t *testing.T) {
	ended, end := context.WithCancelCause(t.Context())
	end(errCancelled)
	cases := map[string]struct {
		ctx     context.Context
		program string
		want    error
	}{
		"done":                  {t.Context(), "ok", nil},
		"failed":                {t.Context(), "bad", nil},
		"the container is gone": {t.Context(), "gone", nil},
		"it does not run":       {t.Context(), "stands", nil},
		"the Engine is away":    {t.Context(), "away", engine.ErrEngineUnavailable},
		"cut short":             {ended, "hang", errCancelled},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, engine, _ := withHooks(t, map[string]string{LabelPre: `["ok"]`, LabelPost: `["` + c.program + `","x"]`})
			pending := *h.Pending()
			if err := h.Post(t.Context()); err != nil || len(engine.done) > 0 {
				t.Errorf("before the first command was begun it runs %q, %v", engine.done, err)
			}
			if err := h.Pre(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := h.Post(c.ctx); !errors.Is(err, c.want) {
				t.Errorf("post reports %v, want %v", err, c.want)
			}
			if _, err := h.runner.RunPost(c.ctx, h.id, &pending); !errors.Is(err, c.want) {
				t.Errorf("by the record it reports %v, want %v", err, c.want)
			}
			command := "c1 " + c.program + " x"
			if want := []string{"c1 ok", command, command}; !slices.Equal(engine.done, want) {
				t.Errorf("run were %q, want %q", engine.done, want)
			}
		})
	}
}

func TestHooksOf(t *testing.T) {
	labels := map[string]string{LabelPre: `["ok"]`, LabelPost: `["ok"]`}
	for _, state := range []events.State{events.StateCreated, events.StateRunning, events.StatePaused, events.StateRestarting,
		events.StateExited} {
		for _, allowed := range []bool{true, false} {
			core, logged := observer.New(zapcore.InfoLevel)
			r := Runner{Allowed: allowed, Log: zap.New(core)}
			h, err := r.Open(&engine.ContainerDetail{Name: "web", State: state, Labels: labels}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := h.Pending() != nil && h.hooks.Pre != nil, allowed && state == events.StateRunning; got != want {
				t.Errorf("%s, allowed %v: has hooks %v, want %v", state, allowed, got, want)
			}
			if got, want := logged.Len() == 1, !allowed && state == events.StateRunning; got != want {
				t.Errorf("%s, allowed %v: logged is %v", state, allowed, logged.All())
			}
		}
	}
	labels[LabelTimeout] = "soon"
	_, err := Runner{Allowed: true}.Open(&engine.ContainerDetail{Name: "web", State: events.StateRunning, Labels: labels}, nil)
	if !errors.Is(err, ErrBadLabel) {
		t.Errorf("a bad label reports %v, want ErrBadLabel", err)
	}
}

// A command's own timeout must not be longer than the job's.
func TestHookEndsWithItsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, _ := withHooks(t, map[string]string{LabelPre: `["hang"]`, LabelTimeout: "10m"})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errCancelled)
		defer cancel()
		began := time.Now()
		if err := h.Pre(ctx); !errors.Is(err, errCancelled) || time.Since(began) != time.Minute {
			t.Errorf("it reports %v after %s, want %v after a minute", err, time.Since(began), errCancelled)
		}
	})
}

// What a command writes may hold secrets, and stays in the container unless the host's
// configuration lets it out. How much it was, and how it ended, is told.
func TestOutputStaysInTheContainer(t *testing.T) {
	const secret = "hunter2"
	for _, show := range []bool{false, true} {
		core, logged := observer.New(zapcore.DebugLevel)
		e := &execer{run: func(context.Context, string) (engine.ExecResult, error) {
			return engine.ExecResult{ExitCode: 127, Output: []byte(secret + "\n"), Written: 8}, nil
		}}
		s, err := Runner{Execer: e, Allowed: true, ShowOutput: show, Log: zap.New(core)}.Open(
			&engine.ContainerDetail{Name: "web", State: events.StateRunning, Labels: map[string]string{LabelPre: "x", LabelPost: "x"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all := fmt.Sprint(s.Pre(t.Context()), s.Post(t.Context()), s.Results(), logged.All())
		if strings.Contains(all, secret) != show {
			t.Errorf("shown is %v, want %v: %s", !show, show, all)
		}
		for _, r := range s.Results() {
			if r.OutputBytes != 8 || !strings.Contains(r.Error, "127 (the program was not found)") || !show &&
				!strings.Contains(r.Error, "wrote 8 bytes") {
				t.Errorf("the result is %+v", r)
			}
		}
	}
}
