package undo

import (
	"context"
	"fmt"
)

// removeContainer removes a container that the attempt made for itself, and reports
// whether it is gone and none can come: an Engine goes on to make a container whose
// client has gone.
func (p *pass) removeContainer(ctx context.Context, a *OwnContainer) (gone bool, err error) {
	ended := p.attemptEnded() // before looking
	over := a.ID != "" || p.ended != nil && ended && !p.pending()
	if a.ID != "" {
		if err := p.engine.RemoveContainer(ctx, a.ID); err != nil {
			return false, fmt.Errorf("remove container %s: %w", a.Name, err)
		}
	}
	found, err := p.engine.RemoveHelper(ctx, a.Name)
	if err != nil {
		return false, fmt.Errorf("remove container %s: %w", a.Name, err)
	}
	p.answered(ended)
	return found || over || p.orphanedFor(settleBound), nil
}
