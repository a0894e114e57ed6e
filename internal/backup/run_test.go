package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/backup/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	baseImage = "app:v1"
	pointID   = "20260102T150405Z-0123abcd"
	jobID     = "abcdefghijklmn27"
)

// bench is a Backuper with an Engine and a sink in memory.
type bench struct {
	*testing.T
	engine   *enginetest.Fake
	sink     *sinktest.Memory
	backuper *backup.Backuper
}

// withBench runs a test in a bubble: time passes only where all wait, and a
// goroutine that is left behind fails the test.
func withBench(t *testing.T, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewFake("host")
		engine.AddImage(baseImage)
		b := &bench{T: t, engine: engine, sink: sinktest.NewMemory(), backuper: &backup.Backuper{
			Engine: engine, Locks: &backup.Locks{}, Version: "test", Log: zaptest.NewLogger(t),
		}}
		test(b)
		if pending := engine.Pending(); len(pending) > 0 {
			t.Errorf("faults that were not met: %q", pending)
		}
	})
}

func (b *bench) add(state events.State) (id string) {
	return b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, Volume: "/data"}, state)
}

// fill writes so much into a container that its archive is sent in many pieces.
func (b *bench) fill(id string) {
	content := make([]byte, 5<<20)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(content)
	b.engine.Write(id, "big", content)
}

func (b *bench) task(id string, quiesce events.Quiesce) backup.Task {
	return backup.Task{
		Host: "host", Job: jobID, Attempt: 1, Point: pointID, Sink: b.sink,
		Request:  point.Request{Source: "/test", ID: "1", CorrelationID: "1"},
		Item:     events.PlannedItem{Item: events.Item{Kind: events.ItemContainer, ID: id, Name: "Web"}, Quiesce: quiesce},
		Tags:     map[string]string{"reason": "test"},
		Progress: func(events.Step, int64, int64, int64) {},
	}
}

// wantNothingLeft holds what must be after an item that failed: no point, nothing
// staged, no snapshot, and the container as it was.
func (b *bench) wantNothingLeft(id string, state events.State) {
	b.Helper()
	if contents := slices.Sorted(maps.Keys(b.sink.Contents())); len(contents) > 0 {
		b.Errorf("the sink holds %q, want nothing", contents)
	}
	b.wantAsItWas(id, state)
}

func (b *bench) wantAsItWas(id string, state events.State) {
	b.Helper()
	if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		b.Errorf("the Engine has the images %q, want only %s", refs, baseImage)
	}
	if comments := b.engine.Comments(); len(comments) > 0 {
		b.Errorf("snapshots without a name are left: %q", comments)
	}
	if got := b.engine.State(id); got != state {
		b.Errorf("the container is %q, want %q", got, state)
	}
}

func (b *bench) wantError(err error, step events.Step, code events.Code, retryable bool) {
	b.Helper()
	failure, ok := err.(*backup.ItemError)
	if !ok {
		b.Fatalf("the error is %v (%T), want an *ItemError", err, err)
	}
	if failure.Step != step || failure.Code != code || failure.Retryable != retryable {
		b.Errorf("it failed at %s with %s, retryable %v (%v); want %s, %s, %v",
			failure.Step, failure.Code, failure.Retryable, err, step, code, retryable)
	}
}

func TestRunContainer(t *testing.T) {
	cases := map[string]struct {
		state   events.State
		quiesce events.Quiesce
		// paused and stopped say whether the container stood for our sake.
		stood bool
	}{
		"running, paused":      {events.StateRunning, events.QuiescePause, true},
		"running, stopped":     {events.StateRunning, events.QuiesceStop, true},
		"running, not touched": {events.StateRunning, events.QuiesceNone, false},
		"paused by its user":   {events.StatePaused, events.QuiescePause, false},
		"paused, to stop":      {events.StatePaused, events.QuiesceStop, false},
		"exited":               {events.StateExited, events.QuiescePause, false},
		"created":              {events.StateCreated, events.QuiesceStop, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(c.state)
				b.fill(id)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(3 * time.Second) }})
				began := time.Now().UTC()
				result, err := b.backuper.Run(b.Context(), b.task(id, c.quiesce))
				if err != nil {
					b.Fatal(err)
				}
				b.wantAsItWas(id, c.state)
				m := b.wantStored(result)
				if want := 3000.; c.stood && m.NotRunningMillis != want || !c.stood && m.NotRunningMillis != 0 {
					b.Errorf("it stood for %v ms", m.NotRunningMillis)
				}
				if !m.SnapshotTime.Equal(began) || m.State != c.state || m.Quiesce != c.quiesce {
					b.Errorf("the manifest has %s, state %s, quiesce %s", m.SnapshotTime, m.State, m.Quiesce)
				}
				if result.Durations.Commit != 3000 {
					b.Errorf("the commit took %d ms, want 3000", result.Durations.Commit)
				}
				var inspected struct{ ID string }
				raw := b.stored(m, point.MediaTypeContainerConfig)
				if err := json.Unmarshal(raw, &inspected); err != nil || inspected.ID != id {
					b.Errorf("the configuration is that of %q, %v", inspected.ID, err)
				}
				if len(m.NotIncluded) != 1 || m.NotIncluded[0].Destination != "/data" || m.NotIncluded[0].Reason == "" {
					b.Errorf("not included is %+v, want the volume", m.NotIncluded)
				}
			})
		})
	}
}

// wantStored holds a result against what is in the sink.
func (b *bench) wantStored(r *backup.Result) *point.Manifest {
	b.Helper()
	m, err := point.Read(b.Context(), b.sink, r.Dir)
	if err != nil {
		b.Fatal(err)
	}
	if a, err := m.Encode(); err != nil {
		b.Error(err)
	} else if want, _ := r.Manifest.Encode(); !bytes.Equal(a, want) {
		b.Errorf("stored is the manifest\n%s\nand returned is\n%s", a, want)
	}
	if m.ID != pointID || m.Job != jobID || m.Tags["reason"] != "test" || m.StoredTime.Before(m.SnapshotTime) {
		b.Errorf("the manifest is %+v", m)
	}
	plain, err := zstd.NewReader(bytes.NewReader(b.stored(m, point.MediaTypeImageArchive)))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	info, err := point.CheckArchive(plain, m.Image.ID)
	if err != nil {
		b.Fatal(err)
	}
	if info.ConfigDigest != m.Image.ConfigDigest || info.Layers != m.Image.Layers {
		b.Errorf("the archive holds %+v, and the manifest says %+v", info, m.Image)
	}
	if contents := b.sink.Contents(); len(contents) != len(m.Artifacts)+1 {
		b.Errorf("the sink holds %q", slices.Sorted(maps.Keys(contents)))
	}
	return m
}

// stored returns an artifact, held against its size and digest.
func (b *bench) stored(m *point.Manifest, mediaType string) []byte {
	b.Helper()
	a := m.Artifact(mediaType)
	if a == nil {
		b.Fatalf("there is no %s", mediaType)
	}
	f, err := b.sink.Open(b.Context(), a.Key)
	if err != nil {
		b.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if a.Size != int64(len(content)) || a.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		b.Errorf("%s has %d bytes and the digest %x, and its manifest says %+v", a.Key, len(content), sum, a)
	}
	return content
}

func TestRunImage(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.engine.AddImage("db:16")
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: id, Name: "db:16"}}
		result, err := b.backuper.Run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		m := b.wantStored(result)
		if m.Image.ID != id || m.Image.Reference != "db:16" || len(m.Artifacts) != 1 || m.Quiesce != "" || m.State != "" {
			b.Errorf("the manifest is %+v", m)
		}
		if calls := b.engine.Calls(enginetest.Commit) + b.engine.Calls(enginetest.RemoveImage); calls > 0 {
			b.Errorf("an image was committed or removed")
		}
	})
}

func TestRunImageGone(t *testing.T) {
	withBench(t, func(b *bench) {
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: "sha256:" + strings.Repeat("0", 64), Name: "db:16"}}
		_, err := b.backuper.Run(b.Context(), task)
		b.wantError(err, events.StepInspect, events.CodeNotFound, false)

		id := b.engine.AddImage("db:16") // and now it goes between inspect and save
		task.Item.ID = id
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, Err: backup.ErrNotFound})
		_, err = b.backuper.Run(b.Context(), task)
		b.wantError(err, events.StepSave, events.CodeNotFound, false)
	})
}

// sinkFault is a failure that is planned in the sink.
type sinkFault struct {
	op  sinktest.Op
	nth int
	err error
}

// TestRunFails has every step fail, and holds what is left and what is reported.
func TestRunFails(t *testing.T) {
	const (
		inspect = events.StepInspect
		commit  = events.StepCommit
		save    = events.StepSave
		publish = events.StepPublish
	)
	broken := errors.New("broken")
	type faults []enginetest.Fault
	cases := map[string]struct {
		faults faults
		sink   *sinkFault
		step   events.Step
		code   events.Code
		final  bool // a retry cannot help
	}{
		"the sink is not there":         {nil, &sinkFault{sinktest.OpOpen, 1, sink.ErrUnavailable}, inspect, events.CodeSinkUnavailable, false},
		"the sink cannot be read":       {nil, &sinkFault{sinktest.OpOpen, 1, broken}, inspect, events.CodeSinkError, false},
		"the Engine is away":            {faults{{Op: enginetest.About, Err: backup.ErrEngineUnavailable}}, nil, inspect, events.CodeEngine, false},
		"the Engine cannot be watched":  {faults{{Op: enginetest.Watch, Err: broken}}, nil, inspect, events.CodeEngine, false},
		"the container is gone":         {faults{{Op: enginetest.Inspect, Err: backup.ErrNotFound}}, nil, inspect, events.CodeNotFound, true},
		"it cannot be inspected":        {faults{{Op: enginetest.Inspect, Err: broken}}, nil, inspect, events.CodeEngine, false},
		"the commit fails":              {faults{{Op: enginetest.Commit, Err: broken}}, nil, commit, events.CodeEngine, false},
		"the Engine is full":            {faults{{Op: enginetest.Commit, Err: backup.ErrEngineFull}}, nil, commit, events.CodeEngineFull, false},
		"the commit fails for us alone": {faults{{Op: enginetest.Commit, Err: broken, Late: true}}, nil, commit, events.CodeEngine, false},
		"the commit fails and leaves it paused": {faults{{Op: enginetest.Commit, Err: broken, LeavePaused: true},
			{Op: enginetest.Unpause, Err: broken, Times: 3}}, nil, commit, events.CodeEngine, false},
		"the Engine does not pause":        {faults{{Op: enginetest.Commit, NoPause: true}}, nil, commit, events.CodeNotQuiesced, false},
		"the account breaks off":           {faults{{Op: enginetest.Watch, Cut: 1}}, nil, commit, events.CodeNotQuiesced, false},
		"the account comes too late":       {faults{{Op: enginetest.Watch, Lag: time.Minute}}, nil, commit, events.CodeNotQuiesced, false},
		"the account breaks off, it stays": {faults{{Op: enginetest.Watch, Cut: 1}, {Op: enginetest.Commit, LeavePaused: true}}, nil, commit, events.CodeNotQuiesced, false},
		"the snapshot is removed": {faults{{Op: enginetest.InspectImage, Err: backup.ErrNotFound}},
			nil, save, events.CodeEngine, false},
		"the snapshot is removed before the save": {faults{{Op: enginetest.Save, Err: backup.ErrNotFound}},
			nil, save, events.CodeEngine, false},
		"the snapshot cannot be inspected": {faults{{Op: enginetest.InspectImage, Err: broken}}, nil, save, events.CodeEngine, false},
		"the save fails":                   {faults{{Op: enginetest.Save, Err: backup.ErrEngineFull}}, nil, save, events.CodeEngineFull, false},
		"the archive breaks off":           {faults{{Op: enginetest.Save, Cut: 2 << 20, Err: broken}}, nil, save, events.CodeEngine, false},
		"the connection breaks off":        {faults{{Op: enginetest.Save, Cut: 2 << 20, Err: io.ErrUnexpectedEOF}}, nil, save, events.CodeCorruptArchive, false},
		"the archive ends too early":       {faults{{Op: enginetest.Save, Cut: 2 << 20}}, nil, save, events.CodeCorruptArchive, false},
		"the archive is one byte":          {faults{{Op: enginetest.Save, Cut: 1}}, nil, save, events.CodeCorruptArchive, false},
		"the sink is gone":                 {nil, &sinkFault{sinktest.OpStage, 1, sink.ErrUnavailable}, save, events.CodeSinkUnavailable, false},
		"nothing can be staged":            {nil, &sinkFault{sinktest.OpStage, 1, broken}, save, events.CodeSinkError, false},
		"the archive cannot be created":    {nil, &sinkFault{sinktest.OpCreate, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink is full at once":         {nil, &sinkFault{sinktest.OpWrite, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink is full in the middle":   {nil, &sinkFault{sinktest.OpWrite, 3, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink breaks in the middle":    {nil, &sinkFault{sinktest.OpWrite, 3, broken}, save, events.CodeSinkError, false},
		"the archive is not durable":       {nil, &sinkFault{sinktest.OpClose, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the configuration has no room":    {nil, &sinkFault{sinktest.OpCreate, 2, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the configuration is not durable": {nil, &sinkFault{sinktest.OpClose, 2, broken}, save, events.CodeSinkError, false},
		"it cannot be published":           {nil, &sinkFault{sinktest.OpPublish, 1, sink.ErrUnavailable}, publish, events.CodeSinkUnavailable, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.fill(id)
				b.engine.Plan(c.faults...)
				if c.sink != nil {
					b.sink.Fail(b, c.sink.op, c.sink.nth, c.sink.err)
				}
				_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
				b.wantError(err, c.step, c.code, !c.final)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

func TestRunKeepsAPausedContainerPaused(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StatePaused)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: errors.New("broken"), Late: true})
		_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeEngine, true)
		b.wantNothingLeft(id, events.StatePaused)
		if calls := b.engine.Calls(enginetest.Unpause); calls > 0 {
			b.Error("it was let go meanwhile")
		}
	})
}

// What was not to be paused is not let go either: its user paused it meanwhile.
func TestRunLeavesAloneWhatIsNotToBeQuiesced(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: errors.New("broken"), During: func() { b.engine.Pause(id) }})
		_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiesceNone))
		b.wantError(err, events.StepCommit, events.CodeEngine, true)
		b.wantNothingLeft(id, events.StatePaused)
	})
}

func TestRunStartsAgainWhatItStopped(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		faults []enginetest.Fault
		code   events.Code // empty: it succeeds
	}{
		"the commit fails":           {[]enginetest.Fault{{Op: enginetest.Commit, Err: broken}}, events.CodeEngine},
		"the stop fails for us":      {[]enginetest.Fault{{Op: enginetest.Stop, Err: broken, Late: true}}, events.CodeEngine},
		"the start takes some tries": {[]enginetest.Fault{{Op: enginetest.Start, Err: broken, Times: 3}}, ""},
		"both": {[]enginetest.Fault{{Op: enginetest.Commit, Err: broken},
			{Op: enginetest.Start, Err: broken, Times: 3}}, events.CodeEngine},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.engine.Plan(c.faults...)
				_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiesceStop))
				if c.code == "" {
					if err != nil {
						b.Fatal(err)
					}
					b.wantAsItWas(id, events.StateRunning)
					return
				}
				b.wantError(err, events.StepCommit, c.code, true)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

func TestRunReportsWhatDoesNotRunAgain(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		quiesce events.Quiesce
		faults  []enginetest.Fault
		state   events.State
	}{
		"not let go": {events.QuiescePause, []enginetest.Fault{
			{Op: enginetest.Commit, LeavePaused: true}, {Op: enginetest.Unpause, Err: broken, Times: -1}}, events.StatePaused},
		"not let go, and not committed": {events.QuiescePause, []enginetest.Fault{
			{Op: enginetest.Commit, Err: broken, LeavePaused: true}, {Op: enginetest.Unpause, Err: broken, Times: -1}}, events.StatePaused},
		"not started": {events.QuiesceStop, []enginetest.Fault{{Op: enginetest.Start, Err: broken, Times: -1}}, events.StateExited},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.engine.Plan(c.faults...)
				_, err := b.backuper.Run(b.Context(), b.task(id, c.quiesce))
				b.wantError(err, events.StepCommit, events.CodeNotRestored, true)
				if !errors.Is(err, broken) {
					b.Errorf("%q does not say why", err)
				}
				b.wantNothingLeft(id, c.state)
			})
		})
	}
}

func TestRunOfAContainerThatIsRemovedMeanwhile(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { b.engine.Remove(id) }})
		_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeNotFound, false)
		b.wantNothingLeft(id, "")
	})
}

func TestRunRefuses(t *testing.T) {
	cases := map[string]struct {
		spec    enginetest.Spec
		state   events.State
		quiesce events.Quiesce
		code    events.Code
	}{
		"dead by now":       {enginetest.Spec{}, events.StateDead, events.QuiescePause, events.CodeUncommittable},
		"removing by now":   {enginetest.Spec{}, events.StateRemoving, events.QuiesceNone, events.CodeUncommittable},
		"would be removed":  {enginetest.Spec{AutoRemove: true}, events.StateRunning, events.QuiesceStop, events.CodeStopWouldRemove},
		"would be replaced": {enginetest.Spec{Labels: map[string]string{"com.docker.swarm.task.id": "x"}}, events.StateRunning, events.QuiesceStop, events.CodeStopWouldRemove},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				c.spec.Image = baseImage
				id := b.engine.Add(c.spec, c.state)
				_, err := b.backuper.Run(b.Context(), b.task(id, c.quiesce))
				b.wantError(err, events.StepInspect, c.code, false)
				b.wantNothingLeft(id, c.state)
				if b.engine.Calls(enginetest.Commit)+b.engine.Calls(enginetest.Stop) > 0 {
					b.Error("it was touched")
				}
			})
		})
	}
}

func TestRunOfAnItemThatIsKnownToFail(t *testing.T) {
	withBench(t, func(b *bench) {
		task := b.task("c", events.QuiescePause)
		task.Sink = nil
		task.Item.Code, task.Item.Message = events.CodeBadLabel, "a bad label"
		_, err := b.backuper.Run(b.Context(), task)
		b.wantError(err, events.StepPlan, events.CodeBadLabel, false)
		if err.Error() != "a bad label" {
			b.Errorf("the message is %q", err)
		}
	})
}

func TestRunLetsGoWhatTheEngineLeftPaused(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, LeavePaused: true})
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantAsItWas(id, events.StateRunning)
		if m := b.wantStored(result); m.NotRunningMillis != 2000 {
			b.Errorf("it stood for %v ms, want the 2000 that the Engine was given", m.NotRunningMillis)
		}
	})
}

// A snapshot that is proven is kept, although the end of the pause is not in the
// account.
func TestRunWithAnAccountThatBreaksOffAfterTheCommit(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Watch, Cut: 2},
			enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(4 * time.Second) }})
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantAsItWas(id, events.StateRunning)
		if m := b.wantStored(result); m.NotRunningMillis < 4000 {
			b.Errorf("it is said to have stood for %v ms, and stood for 4000", m.NotRunningMillis)
		}
	})
}

func TestRunWithALaggingAccount(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Watch, Lag: 5 * time.Second},
			enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(time.Second) }})
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if m := b.wantStored(result); m.NotRunningMillis != 1000 {
			b.Errorf("it stood for %v ms, want 1000", m.NotRunningMillis)
		}
	})
}

func TestRunRemovesTheSnapshotInTheEnd(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Err: errors.New("busy"), Times: 4})
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A snapshot that cannot be removed is left for the sweep; the point counts.
func TestRunWithASnapshotThatCannotBeRemoved(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Err: errors.New("busy"), Times: -1})
		began := time.Now()
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Minute {
			b.Errorf("it took %s", took)
		}
		b.wantStored(result)
		want := []string{baseImage, "holdfast/snapshot:" + pointID + "-1"}
		if refs := b.engine.References(); !slices.Equal(refs, want) {
			b.Errorf("the Engine has %q, want %q", refs, want)
		}
		if comments := b.engine.Comments(); !slices.Equal(comments, []string{"holdfast point " + pointID}) {
			b.Errorf("the snapshot's comment is %q", comments)
		}
	})
}

func TestRunCancelled(t *testing.T) {
	type cancelFunc = func(cause error)
	cases := map[string]struct {
		plan func(b *bench, id string, cancel cancelFunc) enginetest.Fault
		step events.Step
		// committed says whether the Engine was let commit.
		committed bool
	}{
		"before the commit": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Inspect, During: func() { cancel(nil) }, Err: context.Canceled}
		}, events.StepInspect, false},
		"at the last moment": {func(b *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Inspect, During: func() { cancel(nil) }}
		}, events.StepCommit, false},
		"in the commit": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, During: func() { cancel(nil); time.Sleep(time.Minute) }}
		}, events.StepSave, true},
		"in a commit that fails": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, During: func() { cancel(nil) }, Err: errors.New("broken"), LeavePaused: true}
		}, events.StepCommit, true},
		"before the save": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Save, During: func() { cancel(nil) }}
		}, events.StepSave, true},
		"in the save": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Save, Cut: 2 << 20, Hang: true, During: func() {
				time.AfterFunc(time.Minute, func() { cancel(nil) })
			}}
		}, events.StepSave, true},
		"while the Engine does not answer": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Watch, Hang: true, During: func() {
				time.AfterFunc(time.Minute, func() { cancel(nil) })
			}}
		}, events.StepInspect, false},
	}
	causes := map[error]events.Code{
		backup.ErrCancelled: events.CodeCancelled,
		backup.ErrStopping:  events.CodeCancelled,
		backup.ErrTimeout:   events.CodeTimeout,
	}
	for name, c := range cases {
		for cause, code := range causes {
			t.Run(fmt.Sprintf("%s/%v", name, cause), func(t *testing.T) {
				withBench(t, func(b *bench) {
					ctx, cancel := context.WithCancelCause(b.Context())
					defer cancel(nil)
					id := b.add(events.StateRunning)
					b.fill(id)
					b.engine.Plan(c.plan(b, id, func(error) { cancel(cause) }))
					_, err := b.backuper.Run(ctx, b.task(id, events.QuiescePause))
					b.wantError(err, c.step, code, true)
					if !errors.Is(err, cause) {
						b.Errorf("%q does not say why", err)
					}
					if committed := b.engine.Calls(enginetest.Commit) > 0; committed != c.committed {
						b.Errorf("committed is %v, want %v", committed, c.committed)
					}
					b.wantNothingLeft(id, events.StateRunning)
				})
			})
		}
	}
}

func TestRunOfAPointThatIsThere(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		first, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		calls := func() (n int) {
			for _, op := range []enginetest.Op{enginetest.About, enginetest.Inspect, enginetest.Commit, enginetest.Watch, enginetest.Save, enginetest.RemoveImage} {
				n += b.engine.Calls(op)
			}
			return n
		}
		before := calls()
		again := b.task(id, events.QuiescePause)
		again.Attempt = 2
		second, err := b.backuper.Run(b.Context(), again)
		if err != nil {
			b.Fatal(err)
		}
		if a, b1 := mustEncode(b, first.Manifest), mustEncode(b, second.Manifest); a != b1 || first.Dir != second.Dir {
			b.Errorf("the second attempt returns\n%s\nand the first returned\n%s", b1, a)
		}
		if calls() != before {
			b.Error("the Engine was asked again")
		}
	})
}

func mustEncode(b *bench, m *point.Manifest) string {
	b.Helper()
	raw, err := m.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return string(raw)
}

// Two attempts at one point: the first manifest wins, and the other attempt
// returns it.
func TestRunOvertaken(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		var other *backup.Result
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			task := b.task(id, events.QuiescePause)
			task.Attempt = 2
			var err error
			if other, err = b.backuper.Run(b.Context(), task); err != nil {
				b.Error(err)
			}
		}})
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if result.Manifest.Attempt != 2 || mustEncode(b, result.Manifest) != mustEncode(b, other.Manifest) {
			b.Errorf("the result is the manifest of attempt %d, want that of 2", result.Manifest.Attempt)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// The point is there, but the sink said that it is not: the next attempt finds it.
func TestRunPublishedUnknowingly(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.sink.Fail(b, sinktest.OpPublished, 1, errors.New("the connection broke"))
		_, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepPublish, events.CodeSinkError, true)
		b.wantAsItWas(id, events.StateRunning)
		again := b.task(id, events.QuiescePause)
		again.Attempt = 2
		result, err := b.backuper.Run(b.Context(), again)
		if err != nil {
			b.Fatal(err)
		}
		if m := b.wantStored(result); m.Attempt != 1 {
			b.Errorf("stored is attempt %d, want 1", m.Attempt)
		}
	})
}

// Commits of one container never overlap, whatever the jobs; those of two do.
func TestRunsOfOneContainer(t *testing.T) {
	withBench(t, func(b *bench) {
		id, other := b.add(events.StateRunning), b.engine.Add(enginetest.Spec{Name: "Other", Image: baseImage}, events.StateRunning)
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		count := func(key string, by int) {
			mu.Lock()
			defer mu.Unlock()
			now[key] += by
			most[key] = max(most[key], now[key])
		}
		during := func(key string) func() {
			return func() {
				for _, k := range []string{key, "all"} {
					count(k, 1)
				}
				time.Sleep(time.Second)
				for _, k := range []string{key, "all"} {
					count(k, -1)
				}
			}
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, Times: 3, During: during(id)},
			enginetest.Fault{Op: enginetest.Commit, On: other, Times: 3, During: during(other)})
		var jobs sync.WaitGroup
		for i := range 3 {
			for _, container := range []string{id, other} {
				task := b.task(container, events.QuiescePause)
				task.Point = fmt.Sprintf("20260102T150405Z-%08x", i*2+strings.Compare(container, other)+1)
				jobs.Go(func() {
					if _, err := b.backuper.Run(b.Context(), task); err != nil {
						b.Error(err)
					}
				})
			}
		}
		jobs.Wait()
		if most[id] != 1 || most[other] != 1 || most["all"] != 2 {
			b.Errorf("at most %d and %d commits of one container overlapped, and %d of all; want 1, 1 and 2", most[id], most[other], most["all"])
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A job that waits for another's commit can be cancelled.
func TestRunCancelledWhileItWaitsForAnother(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		release, err := b.backuper.Locks.Acquire(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(b.Context())
		time.AfterFunc(time.Minute, func() { cancel(backup.ErrCancelled) })
		_, err = b.backuper.Run(ctx, b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeCancelled, true)
		b.wantNothingLeft(id, events.StateRunning)
		release()
		if again, err := b.backuper.Locks.Acquire(b.Context(), id); err != nil {
			b.Errorf("the lock is not free: %v", err)
		} else {
			again()
		}
	})
}

// A corrupt manifest is the sink's fault, and is not taken for a point.
func TestRunOfAPointThatIsDamaged(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		dir := point.Dir("host", events.ItemContainer, "Web", pointID)
		staging, err := b.sink.Stage(b.Context(), dir, "1")
		if err != nil {
			b.Fatal(err)
		}
		if err := staging.Publish(b.Context(), []byte("{")); err != nil {
			b.Fatal(err)
		}
		_, err = b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepInspect, events.CodeSinkError, true)
		if !strings.Contains(err.Error(), path.Base(dir)) {
			b.Errorf("%q does not name the point", err)
		}
	})
}

func TestRunReportsItsProgress(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.fill(id)
		task := b.task(id, events.QuiescePause)
		var steps []events.Step
		var read, total, stored int64
		task.Progress = func(step events.Step, r, all, s int64) {
			if len(steps) == 0 || steps[len(steps)-1] != step {
				steps = append(steps, step)
			}
			if step == events.StepSave {
				if r < read || s < stored {
					b.Errorf("the progress goes back from %d, %d to %d, %d", read, stored, r, s)
				}
				read, total, stored = r, all, s
			}
		}
		result, err := b.backuper.Run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		if want := []events.Step{events.StepCommit, events.StepSave, events.StepPublish}; !slices.Equal(steps, want) {
			b.Errorf("the steps were %v, want %v", steps, want)
		}
		if a := result.Manifest.Artifacts[0]; read != a.UncompressedSize || stored > a.Size || total == 0 {
			b.Errorf("the last progress was %d of %d read, %d stored; the artifact is %+v", read, total, stored, a)
		}
	})
}
