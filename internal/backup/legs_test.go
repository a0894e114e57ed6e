package backup_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// pair is a bench with a second sink.
type pair struct {
	*bench
	other *sinktest.Memory
}

func withPair(t *testing.T, test func(b *pair)) {
	withBench(t, func(b *bench) {
		p := &pair{b, sinktest.NewMemory()}
		b.sweeper.Sinks = sinks{"default": b.sink, "other": p.other}
		test(p)
	})
}

// in is a leg of a sink.
func in(name string, s sink.Sink) backup.Leg {
	return backup.Leg{Sink: name, Open: func(context.Context) (sink.Sink, error) { return s, nil }}
}

// both is the task to back a container up to both sinks.
func (b *pair) both(id string) backup.Task {
	t := b.task(id, events.QuiescePause)
	t.Legs = []backup.Leg{in("default", b.sink), in("other", b.other)}
	return t
}

// wantPoint holds that a sink has the whole point, and nothing else.
func (b *pair) wantPoint(in *sinktest.Memory) *point.Manifest {
	b.Helper()
	m, err := point.Read(b.Context(), in, point.Dir("host", events.ItemContainer, "Web", pointID))
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range m.Artifacts {
		f, err := in.Open(b.Context(), a.Key)
		if err != nil {
			b.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err != nil || a.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(content)) || a.Size != int64(len(content)) {
			b.Errorf("%s has %d bytes, which are not those of the manifest: %v", a.Key, len(content), err)
		}
	}
	if contents := in.Contents(); len(contents) != len(m.Artifacts)+1 || len(m.Artifacts) != 3 {
		b.Errorf("the sink holds %q", slices.Sorted(maps.Keys(contents)))
	}
	return m
}

func (b *pair) wantNothingIn(s *sinktest.Memory) {
	b.Helper()
	if contents := s.Contents(); len(contents) > 0 {
		b.Errorf("the sink holds %q, want nothing", slices.Sorted(maps.Keys(contents)))
	}
}

// One read of the Engine is one point in both sinks, as each is configured.
func TestRunInTwoSinks(t *testing.T) {
	withPair(t, func(b *pair) {
		id := b.add(events.StateRunning)
		b.fill(id)
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			b.Fatal(err)
		}
		sealer, err := seal.New(seal.Options{Recipients: []string{identity.Recipient().String()}})
		if err != nil {
			b.Fatal(err)
		}
		task := b.both(id)
		task.Legs[1] = in("other", &seal.Sealed{Sink: b.other, Seal: sealer})
		for i, o := range b.runner.Run(b.Context(), task) {
			if o.Err != nil || o.Result.Manifest.ID != pointID {
				b.Errorf("in sink %d: %v", i, o.Err)
			}
		}
		b.wantAsItWas(id, events.StateRunning)
		clear, sealed := b.wantPoint(b.sink), b.wantPoint(b.other)
		for i, a := range clear.Artifacts {
			o := sealed.Artifacts[i]
			if o.Key != a.Key+seal.Suffix || o.Encryption != seal.Format || a.Encryption != "" || o.UncompressedSize != a.UncompressedSize {
				b.Errorf("in clear and encrypted: %+v and %+v", a, o)
			}
		}
		if !clear.SnapshotTime.Equal(sealed.SnapshotTime) || b.engine.Calls(enginetest.Save) != 1 || b.engine.Calls(enginetest.Commit) != 1 {
			b.Errorf("it was captured more than once")
		}
	})
}

// Whatever a sink fails at, the other one has the whole point, and nothing is left.
func TestRunWhereOneSinkFails(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		op    sinktest.Op
		nth   int
		err   error
		code  events.Code
		there bool // the point is there all the same
	}{
		"it cannot be read":         {sinktest.OpOpen, 1, broken, events.CodeSinkError, false},
		"it is away":                {sinktest.OpOpen, 1, sink.ErrUnavailable, events.CodeSinkUnavailable, false},
		"nothing can be staged":     {sinktest.OpStage, 1, broken, events.CodeSinkError, false},
		"nothing can be created":    {sinktest.OpCreate, 1, sink.ErrFull, events.CodeSinkFull, false},
		"it is full at once":        {sinktest.OpWrite, 1, sink.ErrFull, events.CodeSinkFull, false},
		"it is full in the midst":   {sinktest.OpWrite, 3, sink.ErrFull, events.CodeSinkFull, false},
		"nothing becomes durable":   {sinktest.OpCommit, 1, broken, events.CodeSinkError, false},
		"the second is not created": {sinktest.OpCreate, 2, broken, events.CodeSinkError, false},
		"the third is not durable":  {sinktest.OpCommit, 3, broken, events.CodeSinkError, false},
		"it does not publish":       {sinktest.OpPublish, 1, sink.ErrUnavailable, events.CodeSinkUnavailable, false},
		"it publishes unknowingly":  {sinktest.OpPublished, 1, sink.ErrUnavailable, events.CodeSinkUnavailable, true},
	} {
		for _, failing := range []int{0, 1} {
			t.Run(fmt.Sprint(name, failing), func(t *testing.T) {
				withPair(t, func(b *pair) {
					id := b.add(events.StateRunning)
					b.fill(id)
					bad, good := b.sink, b.other
					if failing == 1 {
						bad, good = good, bad
					}
					bad.Fail(b, c.op, c.nth, c.err)
					all := b.runner.Run(b.Context(), b.both(id))
					if o := all[1-failing]; o.Err != nil {
						b.Fatal(o.Err)
					}
					e, ok := errors.AsType[*failure.Error](all[failing].Err)
					if !ok || e.Code != c.code || !strings.Contains(e.Error(), "sink ") {
						b.Errorf("it failed with %v, want %s", all[failing].Err, c.code)
					}
					b.wantAsItWas(id, events.StateRunning)
					b.wantPoint(good)
					if c.there {
						b.wantPoint(bad)
					} else {
						b.wantNothingIn(bad)
					}
				})
			})
		}
	}
}

// Where all fail, each says why, and nothing is left.
func TestRunWhereAllSinksFail(t *testing.T) {
	withPair(t, func(b *pair) {
		id := b.add(events.StateRunning)
		b.fill(id)
		b.sink.Fail(b, sinktest.OpWrite, 2, sink.ErrFull)
		b.other.Fail(b, sinktest.OpCommit, 2, sink.ErrUnavailable)
		all := b.runner.Run(b.Context(), b.both(id))
		b.wantCodes([]error{all[0].Err, all[1].Err}, events.CodeSinkFull, events.CodeSinkUnavailable)
		b.wantNothingIn(b.other)
		b.wantNothingLeft(id, events.StateRunning)
	})
}

// hanging is a sink that does not return from an operation for a day.
type hanging struct {
	sink.Sink
	stage, publish bool
}

func (h hanging) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	if h.stage {
		time.Sleep(24 * time.Hour)
	}
	staging, err := h.Sink.Stage(ctx, dir, attempt)
	return hangingStaging{staging, h}, err
}

type hangingStaging struct {
	sink.Staging
	hanging
}

func (h hangingStaging) Publish(ctx context.Context, manifest []byte) error {
	if h.publish {
		time.Sleep(24 * time.Hour)
	}
	return h.Staging.Publish(ctx, manifest)
}

// A sink that hangs holds nobody up, and what it has done when it comes back is undone.
func TestRunWhereOneSinkHangs(t *testing.T) {
	for name, c := range map[string]struct {
		bytes  int
		hang   func(s sink.Sink) sink.Sink
		within time.Duration
	}{
		"in a long stream":  {20 << 20, func(s sink.Sink) sink.Sink { return slowSink{s, sleep(24 * time.Hour)} }, time.Second},
		"in a short stream": {1 << 10, func(s sink.Sink) sink.Sink { return slowSink{s, sleep(24 * time.Hour)} }, 10 * time.Second},
		"when it is staged": {1 << 10, func(s sink.Sink) sink.Sink { return hanging{s, true, false} }, 10 * time.Second},
		"at its end":        {1 << 10, func(s sink.Sink) sink.Sink { return hanging{s, false, true} }, 10 * time.Second},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", the first: ", first), func(t *testing.T) {
				withPair(t, func(b *pair) {
					b.runner.StallTimeout = noProgress
					id := b.add(events.StateRunning)
					b.fillWith(id, c.bytes)
					task := b.both(id)
					task.Legs[1] = in("other", c.hang(b.other))
					if first {
						slices.Reverse(task.Legs)
					}
					began := time.Now()
					all := b.runner.Run(b.Context(), task)
					if took := time.Since(began); took > c.within+3*time.Second { // the commit of the Engine takes two
						b.Errorf("it took %s", took)
					}
					if first {
						slices.Reverse(all)
					}
					if all[0].Err != nil || !errors.Is(all[1].Err, failure.ErrAway) {
						b.Errorf("it ended with %v and %v", all[0].Err, all[1].Err)
					}
					if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage}) {
						b.Errorf("the Engine has the images %q while the sink hangs", refs)
					}
					time.Sleep(25 * time.Hour * 4)
					b.wantAsItWas(id, events.StateRunning)
					b.wantPoint(b.sink)
					b.wantNothingIn(b.other)
				})
			})
		}
	}
}

// A point that one of the sinks has is not captured again for the other.
func TestRunWhereOneSinkHasThePoint(t *testing.T) {
	for has := range 2 {
		withPair(t, func(b *pair) {
			id := b.add(events.StateRunning)
			task := b.both(id)
			task.Legs = task.Legs[has : has+1]
			if o := b.runner.Run(b.Context(), task)[0]; o.Err != nil {
				b.Fatal(o.Err)
			}
			commits := b.engine.Calls(enginetest.Commit)
			again := b.both(id)
			again.Attempt = 2
			all := b.runner.Run(b.Context(), again)
			if o := all[has]; o.Err != nil || o.Result.Manifest.Attempt != 1 {
				b.Errorf("it is not that of attempt 1: %v", o.Err)
			}
			if o := all[1-has]; o.Result != nil || o.Err == nil {
				b.Errorf("the other one has it, too")
			}
			if n := b.engine.Calls(enginetest.Commit); n != commits {
				b.Errorf("the container was committed again")
			}
		})
	}
}

// Where a sink may have the point and cannot be asked, nothing is captured.
func TestRunInDoubt(t *testing.T) {
	for _, may := range []bool{true, false} {
		withPair(t, func(b *pair) {
			id := b.add(events.StateRunning)
			task := b.both(id)
			task.Legs[1].MayHave = may
			b.other.Fail(b, sinktest.OpOpen, 1, sink.ErrUnavailable)
			all := b.runner.Run(b.Context(), task)
			if !errors.Is(all[1].Err, failure.ErrAway) || errors.Is(all[0].Err, failure.ErrAway) != may {
				b.Errorf("it ended with %v and %v", all[0].Err, all[1].Err)
			}
			if n := b.engine.Calls(enginetest.Commit); (n == 0) != may {
				b.Errorf("the container was committed %d times", n)
			}
			b.wantAsItWas(id, events.StateRunning)
		})
	}
}

// Of two attempts at a time one wins in all sinks.
func TestRunOvertakenInTwoSinks(t *testing.T) {
	withPair(t, func(b *pair) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			task := b.both(id)
			task.Attempt = 2
			task.Legs = task.Legs[:1] // it dies before it gets to the other one
			if o := b.runner.Run(b.Context(), task)[0]; o.Err != nil {
				b.Error(o.Err)
			}
		}})
		all := b.runner.Run(b.Context(), b.both(id))
		if all[0].Err != nil || all[0].Result.Manifest.Attempt != 2 || all[1].Err == nil {
			b.Errorf("it ended with %v and %v", all[0].Err, all[1].Err)
		}
		b.wantAsItWas(id, events.StateRunning)
		b.wantPoint(b.sink)
		b.wantNothingIn(b.other)
	})
}

// A cancelled item undoes what it has staged in all sinks.
func TestRunCancelledInTwoSinks(t *testing.T) {
	withPair(t, func(b *pair) {
		id := b.add(events.StateRunning)
		b.fillWith(id, 20<<20)
		ctx, cancel := context.WithCancel(b.Context())
		task := b.both(id)
		task.Legs[0] = in("default", slowSink{b.sink, sleep(24 * time.Hour)})
		task.Legs[1] = in("other", slowSink{b.other, sleep(24 * time.Hour)})
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		for _, o := range b.runner.Run(ctx, task) {
			b.wantError(o.Err, events.StepSave, events.CodeCancelled, true)
		}
		if took := time.Since(began); took > time.Minute+time.Second {
			b.Errorf("it took %s", took)
		}
		time.Sleep(4 * 25 * time.Hour)
		b.wantNothingIn(b.other)
		b.wantNothingLeft(id, events.StateRunning)
	})
}
