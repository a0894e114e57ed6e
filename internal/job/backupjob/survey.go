package backupjob

import (
	"context"
	"errors"
	"fmt"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
)

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
