package dispatch

import "context"

func (r *round) together(ctx context.Context, p *planned) { r.each(ctx, p) }
