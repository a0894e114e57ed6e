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
			if err := a.makeNetwork(ctx, n.Name); err != nil {
				return failure.At(events.StepCreate, err, "create network %s", n.Name)
			}
		}
		a.result.Networks = append(a.result.Networks, events.RestoredNetwork{Name: n.Name, Action: n.Action})
	}
	return nil
}

func (a *attempt) makeNetwork(ctx context.Context, name string) error {
	n := networkOf(a.source.Context, name)
	if n == nil {
		return fmt.Errorf("%w: how the network was made", errUnsuitable)
	}
	id, err := a.Engine.CreateNetwork(ctx, n.Spec(a.Item.KeepSubnets))
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

// looksEmpty refuses volumes that are to be filled and hold data, while nothing is
// stopped yet.
func (a *attempt) looksEmpty(ctx context.Context) error {
	for _, v := range a.Item.Volumes {
		if v.Action != events.VolumeFilled {
			continue
		}
		name := a.nextHelper()
		empty, err := a.Volumes.IsEmpty(ctx, name, helper.Place{Volume: v.Name})
		if err == nil {
			a.entry.Change(func(r *undo.Record) { r.DropContainer(name) })
		}
		if err == nil && !empty { // nobody else's content is ours to remove
			err = errors.Join(errVolumeNotEmpty, a.note(ctx, func(r *undo.Restoration) { r.DropFilled(v.Name) }))
		}
		if err != nil {
			return failure.At(events.StepVolumes, err, "volume %s", v.Name)
		}
	}
	return nil
}

// fill fills the volumes with this action.
func (a *attempt) fill(ctx context.Context, action events.VolumeAction) error {
	defer measure(&a.result.DurationsMillis.Volumes)()
	for _, v := range a.Item.Volumes {
		if v.Action != action || !v.fills() {
			continue
		}
		if err := a.fillVolume(ctx, v); err != nil {
			return failure.At(events.StepVolumes, err, "fill volume %s", v.Name)
		}
	}
	return nil
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
