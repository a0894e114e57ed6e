package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

// errReplaced: a volume was removed after the plan was made, and made again.
var errReplaced = errors.New("it was removed after the plan was made, and another one has its name now; ask again to back that up")

// volume backs up a volume, of which nothing has to be captured.
func (r *attempt) volume(ctx context.Context) error {
	if stored, err := r.find(ctx); stored || err != nil {
		return err
	}
	done := measure(&r.durations.Inspect)
	v, err := r.Engine.InspectVolume(ctx, r.Item.ID)
	done()
	if err != nil {
		return failure.At(events.StepInspect, err, "inspect volume %s", r.Item.Name)
	}
	r.documents = append(r.documents, document{point.VolumeConfig, point.MediaTypeVolumeConfig, v.Raw})
	for _, step := range []func(context.Context) error{r.probe, r.begin, r.stage, r.prepareHelpers} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.manifest.SnapshotTime = time.Now().UTC()
	if err := r.readVolumes(ctx); err != nil {
		return err
	}
	return r.complete(ctx)
}

// readsQuiesced reports whether volumes are read while the container is quiesced.
func (t *Task) readsQuiesced() bool { return len(t.Item.Volumes) > 0 && !t.Hot }

// helper is the name of the container that reads the nth volume of the item.
func (r *attempt) helper(n int) string { return engine.HelperName(r.Point, r.Attempt, n+1) }

// prepareHelpers makes what the volumes and bind mounts of the item are read by, while
// the container still runs. From then on nobody can remove a volume, so that it is the
// planned one if it is now.
func (r *attempt) prepareHelpers(ctx context.Context) error {
	for n, v := range r.Item.Volumes {
		r.helpers = append(r.helpers, nil)
		h, err := r.Volumes.Helpers.Prepare(ctx, r.helper(n), helper.Place{Volume: v.Name, Bind: v.Source})
		if err == nil {
			r.helpers[n] = h
			err = r.isPlanned(ctx, v)
		}
		if err != nil {
			return failure.At(events.StepVolumes, err, "read %s of %s %s", whatIs(v), r.Item.Kind, r.Item.Name)
		}
		r.watch.Kick()
	}
	if len(r.helpers) > 0 {
		step.At(ctx, step.HelpersMade)
	}
	return nil
}

// readVolumes stores the volumes and bind mounts of the item, one after the other.
func (r *attempt) readVolumes(ctx context.Context) error {
	defer measure(&r.durations.Volumes)()
	for n, v := range r.Item.Volumes {
		if err := r.readVolume(ctx, n, v); err != nil {
			return failure.At(events.StepVolumes, err, "read %s of %s %s", whatIs(v), r.Item.Kind, r.Item.Name)
		}
		step.At(ctx, step.VolumeRead)
	}
	return nil
}

// whatIs says to people which volume or bind mount is meant.
func whatIs(v events.PlannedVolume) string {
	if v.Name != "" {
		return "volume " + v.Name
	}
	return fmt.Sprintf("bind mount %s (%s)", v.Destination, v.Source)
}

func (r *attempt) readVolume(ctx context.Context, n int, v events.PlannedVolume) error {
	r.progress(events.StepVolumes, 0, 0, 0)
	report, err := r.Volumes.Move(ctx, r.helpers[n], volumeTarget{r, v, r.Volumes.Compression}, func(read, stored int64) {
		r.progress(events.StepVolumes, read, 0, stored)
	})
	if v.Source != "" && errors.Is(err, volume.ErrNotFolder) { // only the helper sees that
		r.manifest.NotIncluded = append(r.manifest.NotIncluded, events.NotIncluded{
			Type: "bind", Source: v.Source, Destination: v.Destination, Reason: "it is one file, and only folders are read"})
		return nil
	}
	if err != nil {
		return err
	}
	r.warnOfVolume(v, report)
	return nil
}

// helperGone says that nothing is left of the nth helper.
func (r *attempt) helperGone(n int) {
	r.shared.entry.Change(func(rec *undo.Record) { rec.DropContainer(r.helper(n)) })
}

// removeHelpers removes the helpers, while the container runs again, and reports
// whether one may be left.
func (r *attempt) removeHelpers(ctx context.Context) (left bool) {
	for n := range r.Item.Volumes {
		if n >= len(r.helpers) { // it was not begun
			r.helperGone(n)
			continue
		}
		h := r.helpers[n]
		if h == nil { // it could not be made
			continue
		}
		r.helpers[n] = nil
		if err := h.Remove(ctx); err != nil {
			r.Log.Warn("a helper is still there; it will be removed", zap.String("helper", r.helper(n)), zap.Error(err))
			continue
		}
		r.helperGone(n)
	}
	rec := r.shared.entry.Record()
	return slices.ContainsFunc(rec.Actions, undo.IsContainer)
}

// isPlanned reports errReplaced for a volume that is not the planned one any more.
func (r *attempt) isPlanned(ctx context.Context, v events.PlannedVolume) error {
	if v.Name == "" {
		return nil
	}
	now, err := r.Engine.InspectVolume(ctx, v.Name)
	switch {
	case err != nil:
		return err
	case v.Driver != "" && now.Driver != v.Driver, !v.CreatedAt.IsZero() && !now.CreatedAt.Equal(v.CreatedAt):
		return errReplaced
	}
	return nil
}

// warnOfVolume warns of what the point lacks of a volume, or has in a state that may
// never have been.
func (r *attempt) warnOfVolume(v events.PlannedVolume, report volume.Report) {
	if report.Sockets > 0 {
		r.manifest.Warn(events.NewWarning(events.WarningSocketsLeftOut, "%s: sockets in it are left out: %d", whatIs(v), report.Sockets))
	}
	if n := report.Changed.Count; n > 0 {
		r.manifest.Warn(events.NewWarning(events.WarningChangedWhileRead,
			"%s: %d files changed while they were read: %s", whatIs(v), n, report.Changed))
	}
	if report.Mounts.Count > 0 {
		r.manifest.Warn(events.NewWarning(events.WarningMountsLeftOut, "%s: what is mounted in it is left out: %s", whatIs(v), report.Mounts))
	}
}

// notIncluded says of the mounts of the container that are not read why.
func (r *attempt) notIncluded(mounts []engine.Mount) []events.NotIncluded {
	var left []events.NotIncluded
	for _, m := range mounts {
		read := slices.ContainsFunc(r.Item.Volumes, func(v events.PlannedVolume) bool {
			return v.Destination == m.Destination || v.Name != "" && v.Name == m.Name
		})
		if !read {
			left = append(left, events.NotIncluded{Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination,
				Reason: r.notIncludedReason(m)})
		}
	}
	return left
}

func (r *attempt) notIncludedReason(m engine.Mount) string {
	for _, planned := range r.Item.NotIncluded {
		if planned.Destination == m.Destination {
			return planned.Reason
		}
	}
	switch m.Type {
	case "volume":
		return "the volumes of the container were not asked for (attached)"
	case "bind":
		return "bind mounts were not asked for (binds)"
	case "tmpfs":
		return "a tmpfs lies in memory only"
	}
	return "mounts of this type are not backed up"
}
