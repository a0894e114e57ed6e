package backupjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink"
)

// inventory returns what of the host's containers, images and volumes the plan depends
// on.
func (s *spec) inventory(ctx context.Context) (inv plan.Inventory, err error) {
	e := s.kind.Runner.Engine
	if s.data.Containers != nil || s.data.Volumes != nil {
		if inv.Containers, err = e.Containers(ctx); err != nil {
			return inv, planError(err, "list the containers")
		}
	}
	if s.data.Images != nil {
		if inv.Images, err = e.Images(ctx); err != nil {
			return inv, planError(err, "list the images")
		}
	}
	if !plan.NeedsVolumes(s.data, inv.Containers) {
		return inv, nil
	}
	if inv.Volumes, err = e.Volumes(ctx); err != nil {
		return inv, planError(err, "list the volumes")
	}
	if s.data.DryRun {
		inv.VolumeSizes = s.volumeSizes(ctx)
	}
	return inv, nil
}

// estimateBound is how long a dry run waits for what it can do without: the sizes of volumes,
// which the Engine reads all of them for, and which layers of images a sink has.
const estimateBound = 30 * time.Second

// volumeSizes returns the bytes of volumes as far as the Engine tells them in time. They
// are an estimate, which a plan does without.
func (s *spec) volumeSizes(ctx context.Context) map[string]int64 {
	bounded, cancel := context.WithTimeout(ctx, estimateBound)
	defer cancel()
	sizes, err := s.kind.Runner.Engine.VolumeSizes(bounded)
	if err != nil {
		s.kind.Runner.Log.Info("the Engine does not tell the sizes of volumes", zap.Error(err))
	}
	return sizes
}

// foresee enters in a plan how images would be moved, as far as that can be told.
func (s *spec) foresee(ctx context.Context, p *plan.Plan, containers []engine.Container) {
	log := s.kind.Runner.Log
	ctx, cancel := context.WithTimeout(ctx, estimateBound)
	defer cancel()
	var to []sink.Sink
	for _, name := range s.data.AllSinks() {
		one, err := s.kind.Sinks.Used(ctx, name)
		if err != nil || one == nil {
			log.Info("it is not known how images would come to a sink", zap.String("sink", name), zap.Error(err))
			return
		}
		to = append(to, one)
	}
	images := map[string]string{} // by the id of the container
	for _, c := range containers {
		images[c.ID] = c.ImageID
	}
	known := map[string]*plan.Item{} // by the kind, and the image of the container
	for i := range p.Items {
		item := &p.Items[i]
		if item.Kind == events.ItemVolume || item.Code != "" {
			continue
		}
		like := string(item.Kind) + images[item.ID]
		if other := known[like]; other != nil {
			item.Transport, item.TransportReason = other.Transport, other.TransportReason
			continue
		}
		known[like] = item
		choice, err := s.kind.Runner.Foresee(ctx, item.Kind, images[item.ID], to)
		if err != nil {
			log.Info("it is not known how an image would be moved", zap.String("item", item.Name), zap.Error(err))
			continue
		}
		item.Transport, item.TransportReason = choice.Transport, choice.Reason
	}
}

// namespaces returns whose namespaces the containers use, if the plan depends on
// that.
func (s *spec) namespaces(ctx context.Context, containers []engine.Container) (map[string]plan.Namespaces, error) {
	if !plan.MayStop(s.data, containers) {
		return nil, nil
	}
	namespaces := map[string]plan.Namespaces{}
	for _, c := range containers {
		d, err := s.kind.Runner.Engine.Inspect(ctx, c.ID)
		switch {
		case err == nil:
			namespaces[c.ID] = plan.Namespaces{Of: d.Shares}
		case errors.Is(err, engine.ErrNotFound):
		case isOfAll(ctx, err):
			return nil, planError(err, "inspect container "+c.Name)
		default:
			namespaces[c.ID] = plan.Namespaces{Unknown: true}
		}
	}
	return namespaces, nil
}

// isOfAll reports whether an error about one container or image would come for all
// of them. Another one must not cost a job that may not even be about it.
func isOfAll(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, engine.ErrEngineUnavailable) || errors.Is(err, engine.ErrRefused) ||
		errors.Is(err, engine.ErrUnsupported)
}

// planError is the error of what could not be asked for a plan. The job waits for an
// Engine that is away, and not for one that refuses.
func planError(err error, what string) error {
	if engine.IsLasting(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", job.ErrAway, what, err)
}

// imageLabels returns the labels of the images of those containers for which the
// plan depends on them.
func (s *spec) imageLabels(ctx context.Context, containers []engine.Container) (plan.ImageLabels, error) {
	labels := plan.ImageLabels{}
	for _, c := range containers {
		if _, known := labels[c.ImageID]; known || !plan.NeedsImage(c) {
			continue
		}
		img, err := s.kind.Runner.Engine.InspectImage(ctx, c.ImageID)
		switch {
		case err == nil:
			labels[c.ImageID] = img.Labels
		case isOfAll(ctx, err):
			return nil, planError(err, "inspect the image of container "+c.Name)
		} // else it is gone or cannot be read, and its labels are unknown
	}
	return labels, nil
}
