package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// fills reports whether the point's content is put into the volume.
func (v Volume) fills() bool {
	return v.Action == events.VolumeCreated || v.Action == events.VolumeFilled || v.Action == events.VolumeReplaced
}

// makeNetworks creates the networks that are not there.
func (a *attempt) makeNetworks(ctx context.Context) error {
	defer measure(&a.result.DurationsMillis.Create)()
	for _, n := range a.Item.Networks {
		if n.Action == events.NetworkCreated {
			if err := a.makeNetwork(ctx, n); err != nil {
				return failure.At(events.StepCreate, err, "create network %s", n.Name)
			}
		}
		a.result.Networks = append(a.result.Networks, events.RestoredNetwork{Name: n.Name, Action: n.Action})
	}
	return nil
}

func (a *attempt) makeNetwork(ctx context.Context, network Network) error {
	name, known := network.Name, networkOf(a.source.Context, network.Name)
	if known == nil {
		return fmt.Errorf("%w: how the network was made", errUnsuitable)
	}
	id, err := a.Engine.CreateNetwork(ctx, known.Spec(network.KeepSubnets))
	if errors.Is(err, engine.ErrNameTaken) {
		return errors.Join(errMeanwhile, a.note(ctx, func(r *undo.Restoration) { r.DropNetwork(name) }))
	}
	if err != nil {
		return err
	}
	return a.note(ctx, func(r *undo.Restoration) { r.NetworkMade(name, id) })
}

// makeVolumes makes the volumes that are not there, and fills those that were made.
func (a *attempt) makeVolumes(ctx context.Context) error {
	a.choices.Volumes = map[string]string{}
	for _, v := range a.Item.Volumes {
		a.choices.Volumes[v.Was] = v.Name
		if (v.Action == events.VolumeFilled || v.Action == events.VolumeReplaced) && a.Item.Replaces != "" { // after the container is created
			a.choices.NoCopy = append(a.choices.NoCopy, v.Was)
		}
		if v.Action == events.VolumeCreated || v.Action == events.VolumeMadeEmpty {
			if err := a.makeVolume(ctx, v); err != nil {
				return failure.At(events.StepCreate, err, "make volume %s", v.Name)
			}
		}
		was := v.Was
		if was == v.Name {
			was = ""
		}
		a.result.Volumes = append(a.result.Volumes, events.RestoredVolume{Name: v.Name, Was: was, Action: v.Action})
	}
	return a.fill(ctx, events.VolumeCreated)
}

func (a *attempt) makeVolume(ctx context.Context, v Volume) error {
	spec, err := a.volumeSpec(ctx, v)
	if err != nil {
		return err
	}
	spec.Name = v.Name
	if err := a.note(ctx, func(r *undo.Restoration) { r.Volumes = append(r.Volumes, v.Name) }); err != nil {
		return err
	}
	if err := a.Engine.CreateVolume(ctx, spec); errors.Is(err, engine.ErrNameTaken) {
		return errors.Join(errMeanwhile, a.note(ctx, func(r *undo.Restoration) { r.DropVolume(v.Name) }))
	} else if err != nil {
		return err
	}
	return nil
}

// volumeSpec is how the volume was made, as far as the point knows.
func (a *attempt) volumeSpec(ctx context.Context, v Volume) (spec engine.Volume, err error) {
	if a.Item.Kind == events.ItemVolume {
		raw, err := a.source.document(ctx, point.MediaTypeVolumeConfig)
		if errors.Is(err, errUnsuitable) {
			return spec, nil
		}
		if err == nil {
			err = json.Unmarshal(raw, &spec)
		}
		return engine.Volume{Driver: spec.Driver, Options: spec.Options, Labels: spec.Labels}, err
	}
	if a.source.Context == nil {
		return spec, nil
	}
	i := slices.IndexFunc(a.source.Context.Volumes, func(o recreate.Volume) bool { return o.Name == v.Was })
	if i < 0 {
		return spec, nil
	}
	was := a.source.Context.Volumes[i]
	return engine.Volume{Driver: was.Driver, Options: was.Options, Labels: was.Labels}, nil
}

// look refuses volumes that are to be filled and cannot be, while nothing is stopped yet.
func (a *attempt) look(ctx context.Context) error {
	for _, v := range a.Item.Volumes {
		if v.Action != events.VolumeFilled && v.Action != events.VolumeReplaced {
			continue
		}
		if err := a.isFree(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "volume %s", v.Name)
		}
	}
	return nil
}

// isFree reports an error for a volume that holds data which may not be replaced, or that
// somebody can write to who is not stopped for the restore.
func (a *attempt) isFree(ctx context.Context, v Volume) error {
	all, err := a.Engine.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	if other := a.Item.user(all, v.Name); other != "" {
		return failure.New(events.StepVolumes, events.CodeVolumeInUse, inUse, other, v.Name)
	}
	if v.Action == events.VolumeReplaced {
		return nil
	}
	name := a.nextHelper()
	empty, err := a.Volumes.IsEmpty(ctx, name, helper.Place{Volume: v.Name})
	if err != nil {
		return err
	}
	a.entry.Change(func(r *undo.Record) { r.DropContainer(name) })
	if !empty {
		return errVolumeNotEmpty
	}
	return nil
}

// inUse says why a volume is not filled: what others write to it would be lost if the
// restore were undone.
const inUse = "container %s runs with volume %s, which is to be filled: stop it"

// fill fills the volumes with one of these actions.
func (a *attempt) fill(ctx context.Context, actions ...events.VolumeAction) error {
	defer measure(&a.result.DurationsMillis.Volumes)()
	for _, v := range a.Item.Volumes {
		if !slices.Contains(actions, v.Action) {
			continue
		}
		if err := a.own(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "volume %s", v.Name)
		}
		if err := a.fillVolume(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "fill volume %s", v.Name)
		}
		step.At(ctx, step.Filled)
	}
	return nil
}

// own records that what is in a volume from now on is the restore's own. One that was
// there is looked into right before: whatever it holds then is somebody else's, and would
// go if the restore were undone. What is to be replaced is stored first.
func (a *attempt) own(ctx context.Context, v Volume) error {
	if v.Action == events.VolumeCreated {
		return nil
	}
	if err := a.isFree(ctx, v); err != nil {
		return err
	}
	cleaner, filler := a.undoers[v.Name][0], a.undoers[v.Name][1]
	if v.Action == events.VolumeFilled {
		return a.note(ctx, func(r *undo.Restoration) { r.Filled = append(r.Filled, undo.Filled{Volume: v.Name, Helper: cleaner}) })
	}
	kept, err := a.keep(ctx, v.Name)
	if err != nil {
		return err
	}
	err = a.note(ctx, func(r *undo.Restoration) {
		r.Overwritten = append(r.Overwritten,
			undo.Overwritten{Volume: v.Name, Sink: a.SinkName, Dir: kept.Dir, Cleaner: cleaner, Filler: filler})
	})
	if err != nil {
		return err
	}
	return a.clear(ctx, v.Name)
}

// keep stores what a volume holds.
func (a *attempt) keep(ctx context.Context, volume string) (Kept, error) {
	before := a.entry.Record()
	kept, err := a.Keep(ctx, volume, keeping{a})
	if err != nil {
		if f, ok := errors.AsType[*failure.Error](err); ok {
			e := *f
			e.Err = fmt.Errorf("volume %s is not replaced, as what it holds cannot be stored: %w", volume, f.Err)
			err = &e
		}
		return kept, err
	}
	a.entry.Change(func(r *undo.Record) { r.Actions = before.Actions }) // nothing is left of it
	for i := range a.result.Volumes {
		if a.result.Volumes[i].Name == volume {
			a.result.Volumes[i].Safety = kept.Point
		}
	}
	step.At(ctx, step.Kept)
	return kept, nil
}

// keeping is the ledger of what is stored for a restore: the item has one record, so that
// of the other names what both may leave behind.
type keeping struct{ attempt *attempt }

// Begin implements [undo.Ledger].
func (k keeping) Begin(ctx context.Context, r undo.Record) error {
	a := k.attempt
	a.entry.Change(func(own *undo.Record) { own.Actions = append(own.Actions, r.Actions...) })
	return a.Ledger.Begin(ctx, a.entry.Record()) // the disk has its own record of it
}

func (a *attempt) clear(ctx context.Context, volume string) error {
	name := a.nextHelper()
	err := a.Volumes.Clear(ctx, name, helper.Place{Volume: volume})
	switch {
	case err == nil:
		a.entry.Change(func(r *undo.Record) { r.DropContainer(name) })
	case !errors.Is(err, helper.ErrLeft):
		return fmt.Errorf("empty it: %w", err)
	}
	step.At(ctx, step.Cleared)
	return nil
}

func (a *attempt) fillVolume(ctx context.Context, v Volume) error {
	artifact := a.source.Volume(v.Was)
	if artifact == nil {
		return fmt.Errorf("%w: volume %s", errUnsuitable, v.Was)
	}
	told, end := a.reading(events.StepVolumes)
	content, err := a.source.Read(ctx, artifact, told)
	if err != nil {
		return err
	}
	defer content.Close()
	name := a.nextHelper()
	report, err := a.Volumes.Write(ctx, name, helper.Place{Volume: v.Name}, content)
	switch {
	case err == nil:
		a.entry.Change(func(r *undo.Record) { r.DropContainer(name) })
	case !errors.Is(err, helper.ErrLeft): // the record has what is left
		return err
	}
	if report.Entries <= 1 && !slices.Contains(a.choices.NoCopy, v.Was) { // it was empty, and stays so
		a.choices.NoCopy = append(a.choices.NoCopy, v.Was)
	}
	if report.Lost.Count > 0 {
		a.result.Warnings = events.Warn(a.result.Warnings, events.WarningRestore,
			"volume %s does not hold all that it held, as its file system refuses it: %s", v.Name, report.Lost)
	}
	end()
	return nil
}
