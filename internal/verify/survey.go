package verify

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
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
	c := Candidate{Dir: e.Dir, ID: path.Base(e.Dir), Verified: e.Marks.Verified, Removed: e.Marks.IsRemoved()}
	if m := e.Manifest; m != nil {
		c.Host, c.Item, c.Stored = m.Host, m.Item, m.StoredTime
		return c
	}
	// points/<host>/<kind>/<name>/<point id>
	if parts := strings.Split(e.Dir, "/"); len(parts) == 5 {
		c.Host, c.Item.Kind, c.Item.Name = decoded(parts[1]), events.ItemKind(parts[2]), decoded(parts[3])
	}
	if !slices.Contains(kinds, c.Item.Kind) {
		c.Item.Kind = events.ItemPoint
	}
	return c
}

// decoded returns the name that an element of a path was made of, as far as it can be
// told: a long one is shortened there.
func decoded(element string) string {
	if name, err := url.PathUnescape(element); err == nil {
		return name
	}
	return element
}
