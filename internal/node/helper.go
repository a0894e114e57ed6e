package node

import (
	"context"
	"fmt"

	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/undo"
)

// helper runs helpers on the Engine.
func (n *Node) helper() *helper.Runner {
	return &helper.Runner{Engine: n.engine, Image: n.o.HelperImage}
}

// volumes undoes what a restore did to the content of volumes. It implements
// [undo.Volumes]; a call may be repeated by the same names.
type volumes struct {
	*helper.Runner
	sinks undo.Sinks
}

// ClearVolume implements [undo.Volumes].
func (v volumes) ClearVolume(ctx context.Context, name, volume string) error {
	if _, err := v.Engine.RemoveHelper(ctx, name); err != nil {
		return err
	}
	return v.Clear(ctx, name, helper.Place{Volume: volume})
}

// RefillVolume implements [undo.Volumes]. Nothing is emptied before the point is found
// and its objects are there.
func (v volumes) RefillVolume(ctx context.Context, o undo.Overwritten) error {
	from, err := v.sinks.Open(ctx, o.Sink)
	if err != nil {
		return err
	}
	point, err := restore.Open(ctx, from, o.Dir)
	if err != nil {
		return err
	}
	artifact := point.Volume(o.Volume)
	if artifact == nil {
		return fmt.Errorf("point %s does not have volume %s", point.Manifest.ID, o.Volume)
	}
	if err := v.ClearVolume(ctx, o.Cleaner, o.Volume); err != nil {
		return err
	}
	if _, err := v.Engine.RemoveHelper(ctx, o.Filler); err != nil {
		return err
	}
	content, err := point.Read(ctx, artifact, func(int64) {})
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = v.Write(ctx, o.Filler, helper.Place{Volume: o.Volume}, content)
	return err
}
