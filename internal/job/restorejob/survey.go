package restorejob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink"
)

// Plan implements [job.Spec]. It reads what points say of themselves, and looks at the
// host; it touches nothing.
func (s *spec) Plan(ctx context.Context) (job.Plan, error) {
	from, err := s.kind.Sinks.Open(ctx, s.options.Sink)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", job.ErrAway, err)
	}
	p := &restore.Plan{Version: restore.PlanVersion, Time: time.Now().UTC(), Missing: []events.Missing{}}
	found, err := s.find(ctx, from, p)
	if err != nil {
		return nil, err
	}
	host, err := s.host(ctx, found)
	if err != nil {
		return nil, err
	}
	p.Items = restore.MakePlan(found, host, s.wish())
	return p, nil
}

// find finds the points that are asked for, each once. What is not there goes into the
// plan as missing.
func (s *spec) find(ctx context.Context, from sink.Sink, p *restore.Plan) ([]restore.Found, error) {
	var found []restore.Found
	add := func(kind events.ItemKind, name, why string, e point.Entry, err error) error {
		switch {
		case errors.Is(err, point.ErrNoPoint), errors.Is(err, point.ErrAmbiguous):
			code := events.CodePointNotFound
			if errors.Is(err, point.ErrAmbiguous) {
				code = events.CodeAmbiguous
			}
			p.Missing = append(p.Missing, events.Missing{Kind: kind, Name: name, Code: code,
				Message: fmt.Sprintf("sink %s: %v", s.options.Sink, err)})
			return nil
		case err != nil:
			return fmt.Errorf("%w: look for points in sink %s: %w", job.ErrAway, s.options.Sink, err)
		}
		if slices.ContainsFunc(found, func(f restore.Found) bool { return f.Dir == e.Dir }) {
			return nil
		}
		found = append(found, s.open(ctx, from, e, why))
		return nil
	}
	for _, id := range s.data.Points {
		e, err := point.FindByID(ctx, from, id)
		if err := add(events.ItemPoint, id, "named by its id", e, err); err != nil {
			return nil, err
		}
	}
	for _, by := range s.selectors() {
		for _, name := range by.selector.Names {
			q := point.Query{Kind: by.kind, Host: by.selector.From, Name: name}
			if q.Host == "" {
				q.Host = s.kind.Host
			}
			if by.selector.At != "" && by.selector.At != events.AtLatest {
				q.At, _ = time.Parse(time.RFC3339, by.selector.At) // what is none was refused
			}
			n, err := point.FindNewest(ctx, from, q)
			why := fmt.Sprintf("the newest point of %s %s of host %s", by.kind, name, q.Host)
			if !q.At.IsZero() {
				why += " that is not later than " + by.selector.At
			}
			if len(n.Unread) > 0 {
				why += fmt.Sprintf("; %d that may be newer cannot be read", len(n.Unread))
			}
			if err := add(by.kind, name, why, n.Entry, err); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// selection is one selector of the request.
type selection struct {
	kind     events.ItemKind
	selector events.PointSelector
}

func (s *spec) selectors() (all []selection) {
	if c := s.data.Containers; c != nil {
		all = append(all, selection{events.ItemContainer, *c})
	}
	if i := s.data.Images; i != nil {
		all = append(all, selection{events.ItemImage, *i})
	}
	if v := s.data.Volumes; v != nil {
		all = append(all, selection{events.ItemVolume, v.PointSelector})
	}
	return all
}

// open reads what a point says of itself.
func (s *spec) open(ctx context.Context, from sink.Sink, e point.Entry, why string) restore.Found {
	f := restore.Found{PlannedItem: events.PlannedItem{Point: e.ID(), Reason: why}, Dir: e.Dir, Err: e.Err}
	f.Kind, f.Name = events.ItemPoint, e.ID()
	if e.Manifest != nil {
		f.Item = e.Manifest.Item
	}
	switch {
	case f.Err != nil:
	case e.Marks.IsRemoved():
		f.Err = fmt.Errorf("%w: it was pruned; holdfast unprune takes it back", point.ErrNoPoint)
	default:
		f.Source, f.Err = restore.Open(ctx, from, e.Dir)
	}
	if why := e.Failure(); why != "" {
		f.Warnings = events.Warn(f.Warnings, events.WarningRestore, "%s", why)
	}
	return f
}

// host looks at what is on the host.
func (s *spec) host(ctx context.Context, found []restore.Found) (*restore.Host, error) {
	e := s.kind.Runner.Engine
	h := &restore.Host{Details: map[string]*engine.ContainerDetail{}, Restored: map[string]bool{}}
	var err error
	if h.Platform, err = e.Platform(ctx); err != nil {
		return nil, planError(err, "ask the Engine what it is")
	}
	if h.Containers, err = e.Containers(ctx); err != nil {
		return nil, planError(err, "list the containers")
	}
	if h.Networks, err = e.Networks(ctx); err != nil {
		return nil, planError(err, "list the networks")
	}
	if h.Volumes, err = e.Volumes(ctx); err != nil {
		return nil, planError(err, "list the volumes")
	}
	for _, f := range found {
		_, err := e.InspectImage(ctx, restore.Reference(f.Point))
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return nil, planError(err, "look for the image of point "+f.Point)
		}
		h.Restored[f.Point] = err == nil
	}
	if s.data.Replace {
		return h, s.inPlace(ctx, h)
	}
	return h, nil
}

// inPlace looks at what matters where containers are replaced.
func (s *spec) inPlace(ctx context.Context, h *restore.Host) error {
	e := s.kind.Runner.Engine
	about, err := e.About(ctx)
	if err != nil {
		return planError(err, "ask the Engine what it is")
	}
	h.NaiveDiff = about.NaiveDiff
	h.Protected = plan.Protected(h.Containers, s.kind.Lifeline(ctx, h.Containers))
	for _, c := range h.Containers {
		if why := plan.ProtectedByLabel(c); why != "" {
			h.Protected[c.ID] = why
		}
		d, err := e.Inspect(ctx, c.ID)
		switch {
		case err == nil:
			h.Details[c.ID] = d
		case engine.IsLasting(err) || errors.Is(err, engine.ErrEngineUnavailable) || ctx.Err() != nil:
			return planError(err, "inspect container "+c.Name)
		} // else it is gone or cannot be read, and is not replaced
	}
	return nil
}

// planError is the error of what could not be asked for a plan. The job waits for an
// Engine that is away, and not for one that refuses.
func planError(err error, what string) error {
	if engine.IsLasting(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", job.ErrAway, what, err)
}
