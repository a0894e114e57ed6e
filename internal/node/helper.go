package node

import (
	"context"

	"holdfast.io/holdfast/internal/helper"
)

// helper runs helpers on the Engine.
func (n *Node) helper() *helper.Runner {
	return &helper.Runner{Engine: n.engine, Image: n.o.HelperImage}
}

// cleaner empties volumes. It implements [undo.VolumeCleaner].
type cleaner struct{ *helper.Runner }

// ClearVolume implements [undo.VolumeCleaner]. It may be repeated by the same name.
func (c cleaner) ClearVolume(ctx context.Context, name, volume string) error {
	if _, err := c.Engine.RemoveHelper(ctx, name); err != nil {
		return err
	}
	return c.Clear(ctx, name, helper.Place{Volume: volume})
}
