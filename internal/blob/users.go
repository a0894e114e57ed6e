package blob

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// maxUsers is how many points are named that refer to a blob.
const maxUsers = 10

// Users are the points of a sink that refer to a blob, also those that are hidden.
type Users struct {
	Points []User // the newest, first
	More   int    // points beside those
	Unread int    // points whose manifest cannot be read: they may refer to it too
}

// User is a point, and what it is of.
type User struct {
	ID   string
	Item events.Item
}

// String names the points in a part of a sentence.
func (u Users) String() string {
	var points []string
	for _, p := range u.Points {
		points = append(points, fmt.Sprintf("%s of %s %s", p.ID, p.Item.Kind, p.Item.Name))
	}
	text := strings.Join(points, ", ")
	if u.More > 0 {
		text += fmt.Sprintf(" and %d more", u.More)
	}
	if u.Unread > 0 {
		text += fmt.Sprintf("; and perhaps %d points whose manifests cannot be read", u.Unread)
	}
	return text
}

// UsersOf returns the points that refer to the blob with this digest. It reads the manifests
// of all points, and calls observe after each. What a manifest says is taken as it is, whoever
// has signed it.
func UsersOf(ctx context.Context, in Lister, digest string, observe func()) (Users, error) {
	var u Users
	for m, err := range manifests(ctx, in) {
		observe()
		switch {
		case errors.Is(err, point.ErrDamaged), errors.Is(err, point.ErrNewer):
			u.Unread++
			continue
		case err != nil:
			return u, err
		}
		if slices.ContainsFunc(m.Shared(), func(a events.Artifact) bool { return a.Digest == digest }) {
			u.add(User{m.ID, m.Item})
		}
	}
	return u, nil
}

// add adds a point, unless there are enough that are newer.
func (u *Users) add(p User) {
	i, _ := slices.BinarySearchFunc(u.Points, p, func(a, b User) int { return strings.Compare(b.ID, a.ID) }) // an id begins with its time
	u.Points = slices.Insert(u.Points, i, p)
	if len(u.Points) > maxUsers {
		u.Points = u.Points[:maxUsers]
		u.More++
	}
}

// Lister finds points and reads them.
type Lister interface {
	sink.Reader
	sink.Lister
}

// manifests yields the manifests of all points, also of those that are hidden, and the error of
// one that cannot be read. It ends after the first error of the sink.
func manifests(ctx context.Context, in Lister) iter.Seq2[*point.Manifest, error] {
	return func(yield func(*point.Manifest, error) bool) {
		for found, err := range in.Points(ctx, sink.PointsName) {
			if err != nil {
				yield(nil, err)
				return
			}
			m, err := point.ReadUnchecked(ctx, in, found.Dir)
			if errors.Is(err, sink.ErrNotFound) { // it was removed meanwhile
				continue
			}
			if err != nil {
				err = fmt.Errorf("the point in %s: %w", found.Dir, err)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}
