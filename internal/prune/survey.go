// Package prune removes recovery points, in two phases. First a mark beside a point
// hides it: from then on it is listed only where that is asked for, and can be taken
// back. After a grace its bytes go, the manifest first. Every step can be repeated, by
// whoever comes next, and each looks again whether the point may go.
//
// The grace is what protects readers that nobody sees: one that began before the point
// was hidden has that time to end. All times are those of the requests' stream, so that
// no worker's clock can shorten it.
package prune

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/retention"
	"holdfast.io/holdfast/internal/sink"
)

// Candidate is a point as it was found.
type Candidate struct {
	retention.Point
	// Item is what the point is of.
	Item events.Item
	// Bytes is how much is stored of it.
	Bytes int64
}

// Survey reads what is known of the points of some groups. Users says who uses points,
// by their ids.
func Survey(ctx context.Context, from point.Catalogue, users map[string]string, selected func(retention.Group) bool) ([]Candidate, error) {
	var found []Candidate
	for e, err := range point.List(ctx, from, sink.PointsName) {
		if err != nil {
			return nil, fmt.Errorf("list the points: %w", err)
		}
		c := candidate(e)
		c.UsedBy = users[c.ID]
		if selected(c.Group) {
			found = append(found, c)
		}
	}
	return found, nil
}

// candidate is what retention needs to know of an entry. What cannot be read of a
// point, be it its manifest or a mark, is a problem: such a point is kept.
func candidate(e point.Entry) Candidate {
	host, item := e.Origin()
	c := Candidate{Item: item, Point: retention.Point{Dir: e.Dir, ID: e.ID(),
		Group: retention.Group{Host: host, Kind: item.Kind, Name: item.Name}}}
	if e.Err != nil {
		c.Problem = e.Err.Error()
		return c
	}
	m := e.Manifest
	c.ID, c.Tags = m.ID, m.Tags
	c.Parts = map[string]int64{}
	for _, a := range m.Artifacts {
		c.Bytes += a.Size
		if part := partOf(a); part != "" {
			c.Parts[part] += max(a.Size, a.UncompressedSize)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Marks.Unread)) {
		c.Problem = fmt.Sprintf("%s: %s", name, e.Marks.Unread[name])
	}
	c.takeMarks(e.Marks)
	return c
}

func (c *Candidate) takeMarks(m point.Marks) {
	if m.Verified != nil {
		c.Verified = retention.Failed
		if m.Verified.OK {
			c.Verified = retention.Passed
		}
	}
	if m.Protected != nil {
		c.Protected = protection(m.Protected)
	}
	if m.Removed != nil {
		c.Hidden = &retention.Hidden{Until: m.Removed.GoneAfter}
	}
}

// protection says who protects a point, and why.
func protection(p *point.Protected) string { return fmt.Sprintf("by %s: %s", p.By, p.Reason) }

// partOf names what an artifact is of; empty for one whose size says nothing.
func partOf(a events.Artifact) string {
	switch a.MediaType {
	case point.MediaTypeImageArchive, point.MediaTypeLayer, point.MediaTypeLayerGzip, point.MediaTypeLayerPlain:
		return "the image"
	case point.MediaTypeVolume, point.MediaTypePieces:
		return "volume " + a.Name
	}
	return ""
}
