package prunejob

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/prune"
	"holdfast.io/holdfast/internal/retention"
	"holdfast.io/holdfast/internal/sink"
)

// selection are the groups that a request means.
type selection struct {
	hosts []string
	// kinds are the selectors of those kinds that the request narrows to; without any
	// it means all.
	kinds map[events.ItemKind]*selector
}

type selector struct {
	names []string
	match []*regexp.Regexp
	all   bool
}

// selectionOf reads the selectors of a request, which has been checked.
func selectionOf(r *events.PruneRequest) selection {
	s := selection{hosts: r.Hosts, kinds: map[events.ItemKind]*selector{}}
	for kind, from := range map[events.ItemKind]*events.ItemSelector{
		events.ItemContainer: r.Containers, events.ItemImage: r.Images, events.ItemVolume: r.Volumes,
	} {
		if from == nil {
			continue
		}
		to := &selector{names: from.Names, all: from.All || len(from.Names)+len(from.Match) == 0}
		for _, m := range from.Match {
			to.match = append(to.match, regexp.MustCompile(m))
		}
		s.kinds[kind] = to
	}
	return s
}

// has reports whether the request means a group.
func (s selection) has(g retention.Group) bool {
	if len(s.hosts) > 0 && !slices.Contains(s.hosts, g.Host) {
		return false
	}
	if len(s.kinds) == 0 {
		return true
	}
	of := s.kinds[g.Kind]
	return of != nil && (of.all || slices.Contains(of.names, g.Name) ||
		slices.ContainsFunc(of.match, func(m *regexp.Regexp) bool { return m.MatchString(g.Name) }))
}

// missing are the names of the request that no point is of.
func (s selection) missing(found []prune.Candidate) []events.Missing {
	var missing []events.Missing
	for _, kind := range []events.ItemKind{events.ItemContainer, events.ItemImage, events.ItemVolume} {
		of := s.kinds[kind]
		if of == nil {
			continue
		}
		for _, name := range of.names {
			if !slices.ContainsFunc(found, func(c prune.Candidate) bool { return c.Kind == kind && c.Name == name }) {
				missing = append(missing, events.Missing{Kind: kind, Name: name, Code: events.CodeNotFound,
					Message: "the sink has no point of a " + string(kind) + " of this name"})
			}
		}
	}
	return missing
}

// decisions are what becomes of the points that a request means.
type decisions struct {
	found    map[string]prune.Candidate // by folder
	verdicts []retention.Verdict
	missing  []events.Missing
}

// decide surveys the sink, and decides.
func (s *spec) decide(ctx context.Context, from sink.Sink, now time.Time) (*decisions, error) {
	users, err := s.kind.Uses.Users(ctx, from.ID())
	if err != nil {
		return nil, err
	}
	found, err := prune.Survey(ctx, from, users, s.selection.has)
	if err != nil {
		return nil, err
	}
	d := &decisions{found: map[string]prune.Candidate{}, missing: s.selection.missing(found)}
	points := make([]retention.Point, len(found))
	for i, c := range found {
		points[i], d.found[c.Dir] = c.Point, c
	}
	d.verdicts = retention.Decide(now, s.policy, points)
	locked, err := locks(ctx, from, d.byFolder())
	if err != nil || len(locked) == 0 {
		return d, err
	}
	for i := range points {
		points[i].LockedUntil = locked[points[i].Dir]
	}
	d.verdicts = retention.Decide(now, s.policy, points)
	return d, nil
}

// locks returns until when those points are locked, by their folders, that would go.
func locks(ctx context.Context, from sink.Sink, decided map[string]retention.Decision) (map[string]time.Time, error) {
	locked := map[string]time.Time{}
	for dir, decision := range decided {
		if decision.Action != retention.Remove && decision.Action != retention.Erase {
			continue
		}
		until, err := prune.LockedUntil(ctx, from, dir)
		if err != nil {
			return nil, fmt.Errorf("ask until when the points are locked: %w", err)
		}
		if !until.IsZero() {
			locked[dir] = until
		}
	}
	return locked, nil
}

// byFolder are the decisions by the folders of their points.
func (d *decisions) byFolder() map[string]retention.Decision {
	by := map[string]retention.Decision{}
	for _, v := range d.verdicts {
		for _, p := range v.Points {
			by[p.Dir] = p
		}
	}
	return by
}
