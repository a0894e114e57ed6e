package restore

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/load"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// attempt is one attempt at restoring one point. One goroutine works on it.
type attempt struct {
	*Runner
	Task
	source  *Source
	release func()      // of what it has locked
	entry   *undo.Entry // nil before the first intrusion
	helpers int         // that have a name
	// undoers are the names of the helpers that undo what is done to the content of
	// volumes, by the volumes: one that empties it, and one that fills it.
	undoers map[string][]string

	old        *engine.ContainerDetail // the container that is replaced; nil for none
	dependants []*dependant            // each after those that it needs
	imageID    string
	id         string // of the new container
	choices    recreate.Choices
	call       *recreate.Call
	stopped    time.Time // when the old one was stopped; zero if it was not
	read       int64     // of the point, before the archive that is being read

	result events.RestoreItemCompleted
}

// run restores the point. What has to be undone after an error is in the entry.
func (a *attempt) run(ctx context.Context) (err error) {
	if a.source, err = Open(ctx, a.Sink, a.Item.Dir); err != nil {
		return failure.At(events.StepRead, err, "read point %s", a.Item.Point)
	}
	if err := a.lock(ctx); err != nil {
		return err
	}
	if err := a.inspectOld(ctx); err != nil {
		return err
	}
	if err := a.inspectDependants(ctx); err != nil {
		return err
	}
	loaded, err := a.isLoaded(ctx)
	if err != nil {
		return err
	}
	if err := a.ready(ctx); err != nil {
		return err
	}
	if err := a.begin(ctx, loaded); err != nil {
		return err
	}
	if a.Item.As != "" && !loaded {
		if err := a.load(ctx); err != nil {
			return err
		}
	}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if a.Item.Container != "" {
		if err := a.container(ctx); err != nil {
			return err
		}
	}
	return a.commit(ctx)
}

// prepare makes what the container needs, and fills what can be filled while the old one
// runs.
func (a *attempt) prepare(ctx context.Context) error {
	if err := a.makeNetworks(ctx); err != nil {
		return err
	}
	if err := a.makeVolumes(ctx); err != nil {
		return err
	}
	if a.Item.Replaces == "" {
		return a.fill(ctx, events.VolumeFilled, events.VolumeReplaced)
	}
	return a.look(ctx)
}

// recordID is the id of the undo record of an attempt. Several jobs restore one point.
func (a *attempt) recordID(attempt uint64) string { return undo.ID(a.named(), attempt) }

// named is what is made for the item alone is named by.
func (a *attempt) named() string { return a.Item.Point + "-" + a.Job }

// temporary is the name that the new container has until its own is free.
func (a *attempt) temporary() string { return "holdfast-restore-" + a.recordID(a.Attempt) }

// isLoaded looks whether the Engine has the image from an earlier restore.
func (a *attempt) isLoaded(ctx context.Context) (bool, error) {
	if a.Item.As == "" {
		return false, nil
	}
	img, err := a.Engine.InspectImage(ctx, Reference(a.Item.Point))
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return false, nil
	case err != nil:
		return false, failure.At(events.StepLoad, err, "look for image %s", Reference(a.Item.Point))
	}
	a.loaded(img.ID)
	return true, nil
}

func (a *attempt) loaded(id string) {
	a.imageID = id
	a.result.ImageID, a.result.ImageReference = id, Reference(a.Item.Point)
}

// ready finds out whether all calls that the item needs would be let through, and
// whether volumes can be filled.
func (a *attempt) ready(ctx context.Context) error {
	if slices.ContainsFunc(a.Item.Volumes, func(v Volume) bool { return v.fills() }) {
		if err := a.Volumes.Ready(ctx); err != nil {
			return failure.At(events.StepPlan, err, "fill the volumes of point %s", a.Item.Point)
		}
	}
	if err := a.Engine.Probe(ctx, a.calls()...); err != nil {
		return failure.At(events.StepPlan, err, "point %s is not restored", a.Item.Point)
	}
	if err := a.mayKeep(ctx); err != nil {
		return failure.At(events.StepPlan, err, "what volumes hold cannot be stored in sink %s before it is replaced", a.SinkName)
	}
	return a.stillMissing(ctx)
}

// mayKeep refuses what is to be stored first where the quota of the sink is used up.
func (a *attempt) mayKeep(ctx context.Context) error {
	replaces := func(v Volume) bool { return v.Action == events.VolumeReplaced }
	if r, ok := sink.As[sink.Rationed](a.Sink); ok && slices.ContainsFunc(a.Item.Volumes, replaces) {
		return failure.FromSink(r.HasRoom(ctx))
	}
	return nil
}

// calls are the Engine's calls that the item needs, those that undo its traces among
// them.
func (a *attempt) calls() []engine.Call {
	var calls []engine.Call
	if a.Item.As != "" {
		calls = append(calls, engine.CallInspectImage, engine.CallLoad, engine.CallRemoveImage)
	}
	if len(a.Item.Volumes) > 0 {
		calls = append(calls, engine.CallInspectVolume, engine.CallCreateVolume, engine.CallRemoveVolume)
	}
	if a.Item.Container != "" {
		calls = append(append(calls, engine.RestoreCalls...), engine.CallCreate, engine.CallRemoveContainer)
	}
	if a.Item.Replaces != "" { // the old one must not start by itself
		calls = append(calls, engine.CallUpdate)
	}
	if len(a.dependants) > 0 {
		calls = append(calls, engine.CallImages, engine.CallCommit, engine.CallInspectVolume, engine.CallRemoveImage)
	}
	if slices.ContainsFunc(a.dependants, func(d *dependant) bool { return d.old.State == events.StatePaused }) {
		calls = append(calls, engine.CallPause)
	}
	return calls
}

// stillMissing refuses what is to be made and is there by now: the undo record will name
// it as ours.
func (a *attempt) stillMissing(ctx context.Context) error {
	for _, v := range a.Item.Volumes {
		if v.Action != events.VolumeCreated && v.Action != events.VolumeMadeEmpty {
			continue
		}
		_, err := a.Engine.InspectVolume(ctx, v.Name)
		if err == nil {
			err = errMeanwhile
		}
		if !errors.Is(err, engine.ErrNotFound) {
			return failure.At(events.StepPlan, err, "volume %s", v.Name)
		}
	}
	if !slices.ContainsFunc(a.Item.Networks, func(n Network) bool { return n.Action == events.NetworkCreated }) {
		return nil
	}
	all, err := a.Engine.Networks(ctx)
	if err != nil {
		return failure.At(events.StepPlan, err, "list the networks")
	}
	for _, n := range a.Item.Networks {
		if n.Action == events.NetworkCreated && slices.ContainsFunc(all, func(o engine.Network) bool { return o.Name == n.Name }) {
			return failure.At(events.StepPlan, errMeanwhile, "network %s", n.Name)
		}
	}
	return nil
}

// begin records what the item may leave behind.
func (a *attempt) begin(ctx context.Context, loaded bool) error {
	r := &undo.Restoration{}
	if a.Item.As != "" && !loaded {
		r.Image = Reference(a.Item.Point)
	}
	if a.Item.Container != "" {
		r.Temporary = a.temporary()
	}
	if a.old != nil {
		r.Replaced = replaced(a.old)
	}
	for _, d := range a.dependants {
		r.Dependants = append(r.Dependants, undo.Swap{Temporary: d.temporary, Replaced: replaced(d.old)})
	}
	record := undo.Record{
		Version: undo.Version, ID: a.recordID(a.Attempt), Job: a.Job, Attempt: a.Attempt, Item: a.Item.Item, Time: time.Now().UTC(),
	}
	for _, n := range a.Item.Networks {
		if n.Action == events.NetworkCreated {
			r.Networks = append(r.Networks, undo.MadeNetwork{Name: n.Name})
		}
	}
	a.nameHelpers(&record)
	record.Actions = append(record.Actions, undo.Action{Restoration: r})
	var err error
	if a.entry, err = a.Sweeper.Begin(ctx, a.Ledger, record); err != nil {
		return failure.At(events.StepPlan, err, "record what is begun with point %s", a.Item.Point)
	}
	step.At(ctx, step.Recorded)
	return nil
}

// replaced is a container as it is, and is to be again.
func replaced(c *engine.ContainerDetail) *undo.Replaced {
	return &undo.Replaced{ID: c.ID, Name: c.Name, State: c.State, StartedAt: c.StartedAt.UTC(),
		RestartPolicy: c.RestartPolicy.Name, MaximumRetries: c.RestartPolicy.MaximumRetries}
}

// nameHelpers names all helpers that the item may need in the record: those that undo
// what is done to volumes, and then those that do it.
func (a *attempt) nameHelpers(record *undo.Record) {
	a.undoers = map[string][]string{}
	for _, v := range a.Item.Volumes {
		if v.Action == events.VolumeFilled || v.Action == events.VolumeReplaced {
			a.undoers[v.Name] = []string{a.helper(record), a.helper(record)}
		}
	}
	first := a.helpers
	for _, v := range a.Item.Volumes {
		switch v.Action {
		case events.VolumeCreated:
			a.helper(record)
		case events.VolumeFilled, events.VolumeReplaced: // before the old container stops, and after
			for range 3 {
				a.helper(record)
			}
		default:
		}
	}
	a.helpers = first
}

// helper names one more helper in the record.
func (a *attempt) helper(record *undo.Record) (name string) {
	name = engine.HelperName(a.named(), a.Attempt, a.helpers)
	a.helpers++
	record.Actions = append(record.Actions, undo.Action{RemoveContainer: &undo.OwnContainer{Name: name}})
	return name
}

// nextHelper is the name of the next helper of the record.
func (a *attempt) nextHelper() string {
	name := engine.HelperName(a.named(), a.Attempt, a.helpers)
	a.helpers++
	return name
}

// note changes what the record says of the restore, as change does.
func (a *attempt) note(ctx context.Context, change func(r *undo.Restoration)) error {
	return a.change(ctx, func(r *undo.Record) { r.Restoring(change) })
}

// change changes the record, in the ledger and then on disk, before what it names is done.
func (a *attempt) change(ctx context.Context, change func(r *undo.Record)) error {
	a.entry.Change(change)
	if err := a.Ledger.Begin(ctx, a.entry.Record()); err != nil {
		return err
	}
	return a.entry.Save()
}

// load loads the image under the point's reference, without what the Engine has of it. The
// Engine reads an archive to its end before it takes anything of it, so what is not proven is
// not loaded.
func (a *attempt) load(ctx context.Context) error {
	defer measure(&a.result.DurationsMillis.Load)()
	told, end := a.reading(events.StepLoad)
	id, err := load.Image(ctx, a.Engine, a.source.Image(told), Reference(a.Item.Point), a.Log)
	if err != nil {
		return failure.At(events.StepLoad, err, "load the image of point %s", a.Item.Point)
	}
	end()
	a.loaded(id)
	step.At(ctx, step.Loaded)
	return nil
}

// reading returns what is told how many bytes of the point were read in a step, and what enters
// them when it has ended. What lies in pieces may be read more than once, and not all of it.
func (a *attempt) reading(at events.Step) (told func(n int64), end func()) {
	total, before := a.source.Manifest.Size(), a.read
	var read atomic.Int64
	told = func(n int64) {
		read.Store(n)
		a.Progress(at, min(before+n, total), total, 0)
	}
	return told, func() { a.read += read.Load() }
}

// commit says in the ledger that the item is done: from then on nothing of it is undone,
// and the containers that were replaced go.
func (a *attempt) commit(ctx context.Context) error {
	record := a.entry.Record()
	record.Actions = nil
	a.result.Bytes = a.read
	if a.old != nil {
		record.Actions = []undo.Action{{RemoveReplaced: &undo.ReplacedContainer{ID: a.old.ID}}}
		a.result.Replaced = a.old.ID
	}
	for _, d := range a.dependants {
		record.Actions = append(record.Actions, undo.Action{RemoveReplaced: &undo.ReplacedContainer{ID: d.old.ID}})
		a.result.Dependants = append(a.result.Dependants, d.result())
	}
	done, err := events.Fit(a.result, events.MaxItemDataBytes)
	if err != nil {
		return err
	}
	record.Done = json.RawMessage(done)
	if err := a.entry.Commit(ctx, a.Ledger, record); err != nil {
		if errors.Is(err, undo.ErrUncertain) {
			a.entry = nil // the next attempt sees what the ledger has
		}
		return failure.At(events.StepRemove, err, "enter that point %s is restored", a.Item.Point)
	}
	step.At(ctx, step.Restored)
	return a.settle(ctx)
}

// settle removes the containers that were replaced. That cannot fail the item any more:
// the Sweeper goes on with it.
func (a *attempt) settle(ctx context.Context) error {
	if a.old == nil {
		a.release()
		if err := a.entry.End(); err != nil {
			a.Log.Warn("the undo record of what is done is still there", zap.String("record", a.recordID(a.Attempt)), zap.Error(err))
			a.entry.HandOver(nil, undo.Ended, never)
		}
		return nil
	}
	if err := a.entry.Save(); err != nil {
		a.Log.Warn("that the replaced container is to be removed is in the ledger only",
			zap.String("record", a.recordID(a.Attempt)), zap.Error(err))
	}
	a.entry.HandOver(a.release, undo.Ended, never)
	bounded, cancel := context.WithTimeout(ctx, undoBound)
	defer cancel()
	if err := a.Sweeper.Undone(bounded, a.recordID(a.Attempt)); err != nil {
		a.result.Warnings = events.Warn(a.result.Warnings, events.WarningRestore,
			"the container that was replaced (%.12s) is not removed yet; it is removed as soon as that is possible", a.old.ID)
		return nil
	}
	step.At(ctx, step.ReplacedGone)
	return nil
}

// measure returns a function that adds the milliseconds since its making.
func measure(to *int64) func() {
	began := time.Now()
	return func() { *to += time.Since(began).Milliseconds() }
}

// elapsed is a time in milliseconds.
func elapsed(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
