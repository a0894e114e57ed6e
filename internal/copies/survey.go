package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/selection"
	"holdfast.io/holdfast/internal/sink"
)

// Survey returns all points in a sink, also those that are hidden, and those whose
// manifest cannot be read, and which of them lie in the other sink too.
func Survey(ctx context.Context, from point.Catalogue, to sink.Lister) ([]Candidate, error) {
	there := map[string]sink.Found{}
	for found, err := range to.Points(ctx, sink.PointsName) {
		if err != nil {
			return nil, fmt.Errorf("list the points that are there already: %w", err)
		}
		there[found.Dir] = found
	}
	var all []Candidate
	for e, err := range point.List(ctx, from, sink.PointsName) {
		if err != nil {
			return nil, fmt.Errorf("list the points: %w", err)
		}
		c := candidateOf(e)
		if found, ok := there[c.Dir]; ok {
			c.There, c.Hidden = true, slices.Contains(found.Marks, sink.RemovedName)
			c.Unprotected = e.Marks.Protected != nil && !slices.Contains(found.Marks, sink.ProtectedName)
		}
		all = append(all, c)
	}
	return all, nil
}

func candidateOf(e point.Entry) Candidate {
	c := Candidate{Dir: e.Dir, ID: e.ID(), Removed: e.Marks.IsRemoved()}
	c.Host, c.Item = e.Origin()
	if !slices.Contains(selection.Kinds, c.Item.Kind) {
		c.Item.Kind = events.ItemPoint
	}
	switch {
	case errors.Is(e.Err, point.ErrNewer):
		c.Code, c.Problem = events.CodePointNewer, e.Err.Error()
	case errors.Is(e.Err, point.ErrDamaged):
		c.Code, c.Problem = events.CodePointDamaged, e.Err.Error()
	}
	if e.Manifest == nil { // it may be readable when its turn comes
		return c
	}
	c.Bytes = e.Manifest.Size()
	return c
}
