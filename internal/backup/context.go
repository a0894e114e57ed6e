package backup

import (
	"context"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
)

// gatherContext takes down what the container's inspect document names but does not
// hold.
func (r *attempt) gatherContext(ctx context.Context, inspected []byte) error {
	c, err := recreate.Gather(ctx, r.Engine, inspected)
	if err != nil {
		return err
	}
	for _, what := range c.Unknown {
		r.manifest.Warn(events.NewWarning(events.WarningContext,
			"the point of container %s does not say everything about it: %s", r.Item.Name, what))
	}
	raw, err := c.Encode()
	r.documents = append(r.documents, document{point.ContainerContext, point.MediaTypeContainerContext, raw})
	return err
}
