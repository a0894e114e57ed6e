package point

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/sink"
)

// Errors of finding one point, completed with what was looked for and what is there.
var (
	// ErrNoPoint: nothing in the sink is meant.
	ErrNoPoint = errors.New("there is no such point")
	// ErrAmbiguous: several points, or the points of several things, are meant.
	ErrAmbiguous = errors.New("it is ambiguous")
)

// Query says what a point is looked for of. Empty members narrow nothing.
type Query struct {
	Kind events.ItemKind
	// Host is the host's id.
	Host string
	// Name is the item's name as its manifests have it, or the full or short id of a
	// container or an image. An image's name without a tag means ":latest".
	Name string
	// At is the moment that the point may show at the latest.
	At time.Time
}

// Newest is the answer to a Query.
type Newest struct {
	Entry
	// Unread are points of that thing, by their paths, whose manifests cannot be read:
	// one of them may be newer.
	Unread []Entry
}

// FindNewest returns the newest point of what q names, by the moment that it shows.
// Points that were removed are passed over. It reports ErrNoPoint, or ErrAmbiguous if q
// names things of several hosts or kinds.
func FindNewest(ctx context.Context, from Catalogue, q Query) (Newest, error) {
	s := search{query: q, things: map[string]bool{}, similar: map[string]bool{}}
	for e, err := range List(ctx, from, q.below()) {
		if err != nil {
			return Newest{}, err
		}
		s.look(e)
	}
	return s.answer()
}

// FindByID returns the point whose id is this one, or alone begins so. One that was
// removed is found, and so is one whose manifest cannot be read: its Err says why. It
// reports ErrNoPoint or ErrAmbiguous.
func FindByID(ctx context.Context, from Catalogue, id string) (Entry, error) {
	var all []sink.Found
	for found, err := range from.Points(ctx, sink.PointsName) {
		if err != nil {
			return Entry{}, err
		}
		if strings.HasPrefix(path.Base(found.Dir), id) {
			all = append(all, found)
		}
	}
	switch len(all) {
	case 0:
		return Entry{}, fmt.Errorf("point %q: %w", id, ErrNoPoint)
	case 1:
		return readEntry(ctx, from, all[0], &bytes.Buffer{}), nil
	}
	ids := map[string]bool{}
	for _, found := range all {
		ids[path.Base(found.Dir)] = true
	}
	return Entry{}, fmt.Errorf("point %q: %w: %d begin so: %s", id, ErrAmbiguous, len(all), some(ids))
}

// Previous returns the manifest of the newest point, by its id, that was stored of the same
// thing before the point in the folder dir, which need not be there; nil if there is none.
// Points that were removed are passed over.
func Previous(ctx context.Context, from Catalogue, dir string) (*Manifest, error) {
	previous := ""
	for found, err := range from.Points(ctx, path.Dir(dir)) {
		if err != nil {
			return nil, err
		}
		if found.Dir < dir && !slices.Contains(found.Marks, sink.RemovedName) { // ids begin with a time
			previous = max(previous, found.Dir)
		}
	}
	if previous == "" {
		return nil, nil
	}
	return Read(ctx, from, previous)
}

// Find returns the point that a person means by text: a point's id, the name of a
// thing, which may be followed by "@latest" or "@" and a time of RFC 3339, or the
// beginning of one point's id; in this order. q narrows what names mean, and its Name
// and At are not used. It reports errors as [FindNewest] and [FindByID] do.
func Find(ctx context.Context, from Catalogue, text string, q Query) (Newest, error) {
	if isID(text) {
		e, err := FindByID(ctx, from, text)
		return Newest{Entry: e}, err
	}
	var err error
	if q.Name, q.At, err = splitTime(text); err != nil {
		return Newest{}, err
	}
	n, err := FindNewest(ctx, from, q)
	if errors.Is(err, ErrNoPoint) && isIDPrefix(text) && text != "" {
		if e, ierr := FindByID(ctx, from, text); !errors.Is(ierr, ErrNoPoint) {
			return Newest{Entry: e}, ierr
		}
	}
	return n, err
}

// splitTime splits NAME@TIME. What follows the "@" of a digest is part of the name.
func splitTime(text string) (name string, at time.Time, err error) {
	name, moment, found := cutLast(text, "@")
	switch {
	case !found, strings.HasPrefix(moment, "sha256:"):
		return text, at, nil
	case moment == "latest":
		return name, at, nil
	}
	if at, err = time.Parse(time.RFC3339, moment); err != nil {
		return "", at, fmt.Errorf("%q: after \"@\" there must be \"latest\" or a time as in 2026-01-31T18:00:00Z", text)
	}
	return name, at, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// below returns the folder that holds all points that the query may mean.
func (q Query) below() string {
	switch host := EncodeName(q.Host); {
	case q.Host == "":
		return sink.PointsName
	case q.Kind == "":
		return path.Join(sink.PointsName, host)
	default:
		return path.Join(sink.PointsName, host, string(q.Kind))
	}
}

// names reports whether the query names the item of a manifest, whatever the time.
func (q Query) names(m *Manifest) bool {
	return (q.Kind == "" || q.Kind == m.Item.Kind) && (q.Host == "" || q.Host == m.Host) && IsNamed(m.Item, q.Name)
}

// shortID is how many hex digits of an id count as a name at least.
const shortID = 12

// IsNamed reports whether an item has a name, or an id that begins so; see [Query].
func IsNamed(item events.Item, name string) bool {
	switch {
	case item.Name == name:
		return true
	case item.Kind == events.ItemImage && item.Name == name+":latest":
		return true
	case item.Kind == events.ItemImage && !strings.HasPrefix(name, "sha256:"):
		name = "sha256:" + name
	}
	return len(strings.TrimPrefix(name, "sha256:")) >= shortID && strings.HasPrefix(item.ID, name)
}

// search is one search for the newest point.
type search struct {
	query   Query
	newest  Newest
	things  map[string]bool // that the query names, by kind and host
	similar map[string]bool // names that are like it
	removed int             // points that would be meant
	later   time.Time       // the earliest moment of those that show a later one than asked for
}

func (s *search) look(e Entry) {
	m := e.Manifest
	switch {
	case m == nil:
		if path.Base(path.Dir(e.Dir)) == EncodeName(s.query.Name) && !e.Marks.IsRemoved() {
			s.newest.Unread = append(s.newest.Unread, e)
		}
	case !s.query.names(m):
		if name := m.Item.Name; s.query.Name != "" && strings.Contains(strings.ToLower(name), strings.ToLower(s.query.Name)) {
			s.similar[name] = true
		}
	case e.Marks.IsRemoved():
		s.removed++
	case !s.query.At.IsZero() && m.SnapshotTime.After(s.query.At):
		if s.later.IsZero() || m.SnapshotTime.Before(s.later) {
			s.later = m.SnapshotTime
		}
	default:
		s.things[fmt.Sprintf("%s %s on host %s", m.Item.Kind, m.Item.Name, m.Host)] = true
		if s.newest.Manifest == nil || isNewer(m, s.newest.Manifest) {
			s.newest.Entry = e
		}
	}
}

// isNewer orders manifests by the moment that they show, and then by their ids.
func isNewer(a, b *Manifest) bool {
	return cmp.Or(a.SnapshotTime.Compare(b.SnapshotTime), strings.Compare(a.ID, b.ID)) > 0
}

func (s *search) answer() (Newest, error) {
	q := s.query
	what := fmt.Sprintf("a point of %q", q.Name)
	if q.Kind != "" {
		what = fmt.Sprintf("a point of %s %q", q.Kind, q.Name)
	}
	if q.Host != "" {
		what += " on host " + q.Host
	}
	switch {
	case len(s.things) > 1:
		return Newest{}, fmt.Errorf("%s: %w: there are points of %s; say which", what, ErrAmbiguous, some(s.things))
	case s.newest.Manifest != nil:
		return s.newest, nil
	case len(s.newest.Unread) > 0:
		return Newest{}, fmt.Errorf("%s: %w that can be read: %w", what, ErrNoPoint, s.newest.Unread[len(s.newest.Unread)-1].Err)
	case !s.later.IsZero():
		return Newest{}, fmt.Errorf("%s: %w: the oldest shows %s", what, ErrNoPoint, s.later.Format(time.RFC3339))
	case s.removed > 0:
		return Newest{}, fmt.Errorf("%s: %w: all were removed; 'holdfast list --removed' shows them", what, ErrNoPoint)
	case len(s.similar) > 0:
		return Newest{}, fmt.Errorf("%s: %w; there are points of %s", what, ErrNoPoint, some(s.similar))
	}
	return Newest{}, fmt.Errorf("%s: %w", what, ErrNoPoint)
}

// maxNamed is how many things an error names.
const maxNamed = 5

// some names what is in a set, or the first of it.
func some(set map[string]bool) string {
	all := slices.Sorted(maps.Keys(set))
	if more := len(all) - maxNamed; more > 0 {
		all = append(all[:maxNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}
