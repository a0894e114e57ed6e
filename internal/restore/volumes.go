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
	"holdfast.io/holdfast/internal/undo"
)

// fills reports whether the point's content is put into the volume.
func (v Volume) fills() bool {
	return v.Action == events.VolumeCreated || v.Action == events.VolumeFilled
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
		if v.Action == events.VolumeFilled && a.Item.Replaces != "" { // after the container is created
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

// lookEmpty refuses volumes that are to be filled and hold data, while nothing is
// stopped yet.
func (a *attempt) lookEmpty(ctx context.Context) error {
	for _, v := range a.Item.Volumes {
		if v.Action == events.VolumeFilled {
			if err := a.isEmpty(ctx, v); err != nil {
				return failure.At(events.StepVolumes, err, "volume %s", v.Name)
			}
		}
	}
	return nil
}

// isEmpty reports an error for a volume that holds data, or that somebody can write to
// who is not stopped for the restore.
func (a *attempt) isEmpty(ctx context.Context, v Volume) error {
	all, err := a.Engine.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	if other := user(all, v.Name, a.Item.Replaces); other != "" {
		return failure.New(events.StepVolumes, events.CodeVolumeInUse, inUse, other, v.Name)
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

// fill fills the volumes with this action.
func (a *attempt) fill(ctx context.Context, action events.VolumeAction) error {
	defer measure(&a.result.DurationsMillis.Volumes)()
	for _, v := range a.Item.Volumes {
		if v.Action != action || !v.fills() {
			continue
		}
		if err := a.own(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "volume %s", v.Name)
		}
		if err := a.fillVolume(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "fill volume %s", v.Name)
		}
	}
	return nil
}

// own records that what is in a volume from now on is the restore's own. One that was
// there is looked into right before: whatever it holds then is somebody else's, and would
// go if the restore were undone.
func (a *attempt) own(ctx context.Context, v Volume) error {
	if v.Action != events.VolumeFilled {
		return nil // it was made
	}
	if err := a.isEmpty(ctx, v); err != nil {
		return err
	}
	return a.note(ctx, func(r *undo.Restoration) {
		r.Filled = append(r.Filled, undo.Filled{Volume: v.Name, Helper: a.cleaners[v.Name]})
	})
}

func (a *attempt) fillVolume(ctx context.Context, v Volume) error {
	artifact := a.source.Volume(v.Was)
	if artifact == nil {
		return fmt.Errorf("%w: volume %s", errUnsuitable, v.Was)
	}
	content, err := a.source.Read(ctx, artifact, a.progress(events.StepVolumes))
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
	a.read += artifact.Size
	return nil
}
