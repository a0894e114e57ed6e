package verify

import (
	"context"
	"sync"

	"holdfast.io/holdfast/internal/blob"
)

// Users finds the points of a sink that refer to a blob, which takes reading the manifests of
// all points, and remembers them: a damaged blob is met again with each of its points. It may
// be used by several goroutines.
type Users struct {
	mu    sync.Mutex
	known map[string]blob.Users // by the digests of blobs
}

// Of returns the points that refer to the blob with this digest, and calls observe while it
// looks.
func (u *Users) Of(ctx context.Context, in blob.Lister, digest string, observe func()) (blob.Users, error) {
	u.mu.Lock()
	users, known := u.known[digest]
	u.mu.Unlock()
	if known {
		return users, nil
	}
	users, err := blob.UsersOf(ctx, in, digest, observe)
	if err != nil {
		return users, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = map[string]blob.Users{}
	}
	u.known[digest] = users
	return users, nil
}
