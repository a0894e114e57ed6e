package sink

import (
	"context"
	"io"
	"time"
)

// Repository is a sink in a repository of an image registry, to which an Engine may push the
// image of an attempt at a point by itself. A blob that was pushed is none of the sink's before
// KeepBlob.
type Repository interface {
	// Reference is the name by which the image of an attempt at the point at dir is pushed,
	// registry/repository:tag. What is pushed so is removed by Withdraw, and by Unstage.
	Reference(dir, attempt string) string
	// Own refers, as registry/repository@digest, to something that no other repository has.
	Own(ctx context.Context) (reference string, err error)
	// Login is what the registry is to know the Engine by.
	Login(ctx context.Context) (Login, error)

	// Manifest returns the manifest of an image that was pushed. It reports ErrNotFound if none
	// was.
	Manifest(ctx context.Context, dir, attempt string) ([]byte, error)
	// OpenBlob reads length bytes of a blob, from offset on.
	OpenBlob(ctx context.Context, digest string, offset, length int64) (io.ReadCloser, error)
	// KeepBlob has a blob of this size be that of the sink with its digest, at [BlobKey], and
	// reports whether it was before. It reports ErrNotFound if the repository does not have it.
	KeepBlob(ctx context.Context, digest string, size int64) (was bool, err error)
	// Withdraw removes what was pushed of an attempt, but for blobs. It is no error if nothing
	// is there.
	Withdraw(ctx context.Context, dir, attempt string) error
	// WithdrawBefore is Withdraw of all attempts at points whose ids begin with an earlier
	// time. What an Engine was told to push may come after it was withdrawn.
	WithdrawBefore(ctx context.Context, t time.Time) error
}

// SnapshotTag is how the tags begin of images that Engines push by themselves. What follows is
// the name of the attempt.
const SnapshotTag = "holdfast-snapshot-"

// Login is what a registry knows somebody by: a name and a password, or a token of the registry,
// or of where that gets tokens from. It is empty for nobody in particular.
type Login struct{ User, Password, RegistryToken, IdentityToken string }

// String leaves out all secrets.
func (l Login) String() string { return l.User }

// GoString leaves out all secrets.
func (l Login) GoString() string { return l.User }

// Filter is a sink that wraps another one and lets no byte into it but through itself.
type Filter interface {
	// Filters reports whether it does so as it is configured.
	Filters() bool
}

// RepositoryOf returns the repository in which a sink lies, if it lies in one, and if bytes may
// come there in another way than through the sink.
func RepositoryOf(s Reader) (Repository, bool) {
	for s != nil {
		if f, ok := s.(Filter); ok && f.Filters() {
			break
		}
		if in, ok := s.(interface{ Repository() (Repository, bool) }); ok {
			return in.Repository()
		}
		wrapper, ok := s.(interface{ Unwrap() Sink })
		if !ok {
			break
		}
		s = wrapper.Unwrap()
	}
	return nil, false
}
