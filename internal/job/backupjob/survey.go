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
		case errors.Is(err, engine.ErrBadAnswer):
			namespaces[c.ID] = plan.Namespaces{Unknown: true}
		default:
			return nil, planError(err, "inspect container "+c.Name)
		}
	}
	return namespaces, nil
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
		case !errors.Is(err, engine.ErrNotFound):
			return nil, planError(err, "inspect the image of container "+c.Name)
		}
	}
	return labels, nil
}
