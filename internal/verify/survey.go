package verify

import (
	"context"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/selection"
	"holdfast.io/holdfast/internal/sink"
)

// Survey returns all points in a sink, also those that are hidden, and those whose
// manifest is damaged: it is verified like any other, and found out.
func Survey(ctx context.Context, from point.Catalogue) ([]Candidate, error) {
	var all []Candidate
	for e, err := range point.List(ctx, from, sink.PointsName) {
		if err != nil {
			return nil, err
		}
		all = append(all, candidateOf(e))
	}
	return all, nil
}

func candidateOf(e point.Entry) Candidate {
	c := Candidate{Dir: e.Dir, ID: e.ID(), Verified: e.Marks.Verified, Removed: e.Marks.IsRemoved()}
	c.Host, c.Item = e.Origin()
	if e.Manifest != nil {
		c.Stored = e.Manifest.StoredTime
	}
	if !slices.Contains(selection.Kinds, c.Item.Kind) {
		c.Item.Kind = events.ItemPoint
	}
	return c
}
