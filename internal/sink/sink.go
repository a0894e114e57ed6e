// Package sink is the port to the places where recovery points are stored, and
// its sub-packages are the implementations.
//
// A point is a folder of artifacts and one manifest. It appears whole or not at
// all: a point exists when its manifest does, and the first manifest wins.
package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Errors that every implementation reports, so that callers can tell them apart
// with [errors.Is]. Their messages are completed by the implementation with the
// place and the remedy.
var (
	// ErrExists is reported by [Staging.Publish] when the point is there already.
	ErrExists = errors.New("the point is already there")
	// ErrNotFound is reported when a key leads to nothing.
	ErrNotFound = errors.New("not in the sink")
	// ErrRange is reported by OpenRange when the object ends before the range does.
	ErrRange = errors.New("the object is too short")
	// ErrTooLarge is reported when an artifact grows beyond what the sink can take as one.
	ErrTooLarge = errors.New("the artifact is too large for the sink")
	// ErrFull means that the sink has no room left.
	ErrFull = errors.New("the sink is full")
	// ErrUnavailable means that the sink cannot be used as it is: missing,
	// read-only, forbidden, unreachable, or not the sink it is taken for.
	ErrUnavailable = errors.New("the sink is not available")
	// ErrMayNotRemove means that what was to be removed is still there, as the credentials
	// may store and read but not remove.
	ErrMayNotRemove = errors.New("these credentials may not remove what is stored")
)

// LockedError is reported for what was to be removed and is still there, as the sink keeps
// it until a date.
type LockedError struct {
	Place string // of what is kept
	Until time.Time
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s: locked until %s", e.Place, e.Until.UTC().Format(time.RFC3339))
}

// IsKept reports whether an error says of something that was to be removed that it is still
// there and that no retry helps for now: it is locked, or the credentials may not remove it.
func IsKept(err error) bool {
	_, locked := errors.AsType[*LockedError](err)
	return locked || errors.Is(err, ErrMayNotRemove)
}

// Sink stores points. A consumer that needs only a part of it takes that part.
//
// Keys are slash-separated and relative, in the form that [path.Clean] leaves,
// valid UTF-8 without backslash or NUL, and no element is longer than 255 bytes;
// other keys are refused. The folder of a point is points/<host>/<kind>/<name>/<point
// id> ([PointDir]). No symbolic link inside a sink is followed.
//
// A Sink may be used by several goroutines, and several processes may use the
// same sink at a time. An operation whose ctx has ended reports its error. Every
// operation reports ErrUnavailable, and changes nothing, if the sink is not the one
// that was opened.
//
// The suite in package sinktest holds every implementation to these comments.
type Sink interface {
	// ID returns the sink's own id, which was made when it was set up and stays
	// with it wherever it is mounted.
	ID() string

	Stager
	Reader
	Lister
	Remover
	Marker
	Sharer
}

// Stager begins attempts at points.
type Stager interface {
	// Stage begins the point at dir, which is the folder of a point; another dir is
	// refused. The point's id occurs once in a sink, and with the attempt it makes
	// one element of a key.
	// No point is at dir before Publish; an artifact that is committed may be read
	// earlier by who knows its key. Stagings of different attempts at the same point do
	// not disturb each other; an attempt that was staged before, and left by a process
	// that died, is replaced. It may report ErrExists if just that attempt made the point.
	Stage(ctx context.Context, dir, attempt string) (Staging, error)

	// Unstage removes what an attempt at the point at dir left staged when it died,
	// and only that: a point that the attempt published stays, and so do other
	// attempts. It returns when that is durable, and it is no error if nothing is
	// there. The attempt must not be in use in this process; if another one still has
	// it, its Publish reports ErrUnavailable from then on, unless [IsKept].
	// It reports a *LockedError or ErrMayNotRemove if something of it is still there; a
	// [Sweeper] takes that up.
	Unstage(ctx context.Context, dir, attempt string) error
}

// Staging is one attempt at storing a point. It must be ended by Discard, also
// after Publish. Create may be called by several goroutines at a time, so that
// artifacts are written at the same time; Publish and Discard are called when no
// goroutine uses a Writer.
type Staging interface {
	// Create begins the artifact name (image.tar.zst, volumes/data.tar.zst) and
	// returns the key under which it can be read once the point is published; it lies
	// in the point's folder. The end of ctx ends the writing too. A name that is in
	// use is refused, and so are ManifestName and MarkNames.
	// most is how many bytes it will have at most, as far as that is known beforehand,
	// and 0 if it is not. A sink may refuse what goes beyond, with ErrTooLarge.
	Create(ctx context.Context, name string, most int64) (w Writer, key string, err error)

	// CreateBlob begins a blob, which points share; most is as for Create, and so is the
	// end of ctx.
	CreateBlob(ctx context.Context, most int64) (BlobWriter, error)

	// Publish makes the point appear, with this manifest, and returns when that is
	// durable. The manifest has the key of every artifact in it as Create returned it:
	// by that a sink knows whose the point is. It reports ErrExists, and changes
	// nothing, if the point is there, and ErrUnavailable if an artifact is no longer. It
	// refuses an attempt with an artifact that was neither committed nor aborted.
	// After any other outcome only Discard may follow.
	Publish(ctx context.Context, manifest []byte) error

	// Discard removes what the attempt wrote and did not publish, and only that. It
	// aborts the Writers that have not ended.
	// It ignores the cancellation of ctx. After Publish it does nothing. It may be
	// called more than once.
	Discard(ctx context.Context) error
}

// Writer writes one artifact. One goroutine uses it. It must be ended by Commit or
// Abort; after a Commit that failed Abort must follow. An artifact that was not
// committed is never durable and never part of a point.
type Writer interface {
	// Write appends to the artifact. After an error, and after the end of Create's
	// ctx, nothing more is written, and every call but Abort reports that error.
	io.Writer

	// Commit returns when the artifact is durable.
	Commit() error

	// Abort removes the artifact, as if Create had not been called: its name may be
	// used again. It does not need Create's ctx. After a Commit that succeeded, and
	// after another Abort that did, it does nothing. If it fails, the attempt can no
	// longer be published.
	Abort() error
}

// BlobWriter writes one blob. It is as [Writer] is, but for its name, which shows at its
// end, and that a blob which was committed stays when its attempt is discarded.
type BlobWriter interface {
	io.Writer

	// Commit keeps the blob under its digest, "sha256:<hex>", which must be that of what
	// was written, in place of one that is there. It returns when the blob is durable, and
	// can be read at [BlobKey].
	Commit(digest string) error

	// Abort removes what was written.
	Abort() error
}

// Sharer keeps what points share: blobs, and small objects by which they are found.
// Their keys are <folder>/<name>, and folder is one of SharedNames.
type Sharer interface {
	// Shared yields every object in a folder, in the byte order of the keys. It ends after
	// the first error. A folder that is not there has none.
	Shared(ctx context.Context, folder string) iter.Seq2[Object, error]

	// PutShared puts a small object at key, which is not a blob's, in place of one that is
	// there, and returns when that is durable. Readers get the old one or the new one, whole.
	PutShared(ctx context.Context, key string, content []byte) error

	// RemoveShared removes the object at key. It returns when that is durable, and it is no
	// error if nothing is there. It reports a *LockedError while the object is locked, and
	// ErrMayNotRemove if the credentials do not let it.
	RemoveShared(ctx context.Context, key string) error
}

// Object is an object that was found.
type Object struct {
	Key string
	Info
}

// Reader reads objects.
type Reader interface {
	// Open reads the object at key. It reports ErrNotFound if there is none. The end
	// of ctx ends the reading too.
	Open(ctx context.Context, key string) (io.ReadCloser, error)

	// OpenRange is as Open, and reads length bytes from offset on; both are at least
	// 0. It reports ErrRange if the object does not have them all.
	OpenRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat returns what is known of the object at key, without reading it. It reports
	// ErrNotFound if there is none.
	Stat(ctx context.Context, key string) (Info, error)
}

// Info is what a sink knows of an object.
type Info struct {
	Size int64 // in bytes
}

// Found is a point that was found in a sink.
type Found struct {
	// Dir is the point's folder.
	Dir string
	// Marks are the names of the marks that lie beside it, sorted.
	Marks []string
}

// Lister lists points.
type Lister interface {
	// Points yields every point that has a manifest and lies below the folder below:
	// all with PointsName, those of a host, of a kind or of an item with their
	// folder, and one point with its own; another folder is refused. They come in the
	// byte order of the keys in them ("a-b/" is before "a/"). It ends after the first
	// error. A folder that is not there has no points.
	Points(ctx context.Context, below string) iter.Seq2[Found, error]
}

// Remover removes what is stored.
type Remover interface {
	// RemovePoint removes the point at dir, its manifest first: once that is gone,
	// durably, the point is not there for anybody. It returns when everything in the
	// folder is removed, durably. It takes up a removal that was interrupted, and it
	// is no error if nothing is there. What another attempt at the point has staged may
	// be removed with it; then its Publish reports ErrUnavailable. It reports a *LockedError,
	// and removes nothing, while the point is locked, and ErrMayNotRemove if the
	// credentials do not let it.
	RemovePoint(ctx context.Context, dir string) error

	// Leftovers yields the folders of points, below a folder as Points takes it and in
	// the same order, whose removal was interrupted when the manifest was gone:
	// RemovePoint takes it up. They are known by the mark RemovedName, which RemovePoint
	// removes last. What lost its manifest in another way is not among them.
	Leftovers(ctx context.Context, below string) iter.Seq2[string, error]

	// Remove removes the object at key, which lies in the folder of a point and is
	// not its manifest; other keys are refused. It returns when that is durable, and
	// it is no error if nothing is there.
	Remove(ctx context.Context, key string) error
}

// Marker puts marks beside points. They are read with Open and removed with Remove;
// RemovePoint removes those of its point.
type Marker interface {
	// PutMark puts the mark name, which is one of MarkNames, beside the point at dir,
	// in place of the one that is there, and returns when that is durable. Readers get
	// the old one or the new one, whole. It reports ErrNotFound, and leaves nothing,
	// if the point is not there or is removed meanwhile: a mark never brings a point's
	// folder back. Of several that are put at a time, one stays.
	PutMark(ctx context.Context, dir, name string, content []byte) error
}

// Locker is a sink that may keep points until a date: nobody can remove them before.
type Locker interface {
	// LockedUntil returns a time before which the point at dir cannot be removed; there may
	// be a later one. It is zero if the point can be removed, or is not there.
	LockedUntil(ctx context.Context, dir string) (time.Time, error)
}

// Extender is a sink that may keep what points share until a date, so that what a locked point
// needs is kept for as long as the point is. Only blobs are kept so: what says in which blob a
// layer is, is a hint, without which a layer is stored once more, and marks come and go.
type Extender interface {
	// Extend keeps the blobs at these keys from being removed for at least as long as every
	// point that is published within ExtendedFor from now on is kept. It shortens nothing. It
	// reports ErrNotFound if one of them is not there; after an error others may be kept for
	// longer. A blob that takes the place of one that is kept is kept as long. It does nothing
	// in a sink that locks nothing.
	Extend(ctx context.Context, keys []string) error

	// BlobLockedUntil is [Locker.LockedUntil] of the blob at key.
	BlobLockedUntil(ctx context.Context, key string) (time.Time, error)
}

// ExtendedFor is within what time after Extend a point is published.
const ExtendedFor = time.Hour

// Sweeper is a sink in which something of attempts that have ended may be left, as it could
// not be removed then.
type Sweeper interface {
	// Sweep removes what Unstage has left, below a folder as Points takes it, as far as it
	// can be removed now; and wherever it belongs what an Engine has pushed too late, or
	// nobody could withdraw, see [Repository].
	Sweep(ctx context.Context, below string) error
}

// Prober is a sink that can be tried without storing a point.
type Prober interface {
	// Probe writes a small object durably and removes it.
	Probe(ctx context.Context) (Probed, error)
}

// Probed is what trying a sink that works has shown.
type Probed struct {
	// May is what the credentials may do there: verbs for people. Nil where a sink has none.
	May []string
	// Warnings are sentences on what an operator should know.
	Warnings []string
}

// Permitter is a sink whose credentials may not be enough to remove anything.
type Permitter interface {
	// MayRemove tries with a small object, and reports ErrMayNotRemove if it is still there.
	MayRemove(ctx context.Context) error
}

// Spacer is a sink that knows how much room it has.
type Spacer interface {
	// Free returns how many bytes may still be written.
	Free(ctx context.Context) (int64, error)
}

// Sizer is a sink that can tell how much lies in it.
type Sizer interface {
	// Sizes yields, in any order, what lies in the sink of points, also of those that are
	// removed and whose bytes are still there, and of attempts, also of those whose process
	// died. It ends after the first error.
	Sizes(ctx context.Context) iter.Seq2[Portion, error]
}

// Portion is some of what lies in a sink.
type Portion struct {
	// Of is the id of a point, or the [AttemptName] of the attempt that wrote it.
	Of    string
	Bytes int64
}

// Rationed is a sink in which Holdfast may have only so many bytes, its quota. What would go
// beyond is refused with ErrFull: by Stage, and by a Writer.
type Rationed interface {
	// Ration returns how many bytes lie in the sink, with what this process is storing
	// there, and its quota.
	Ration(ctx context.Context) (used, quota int64, err error)
	// StageAtLeast is Stage for a point of which it is known that it takes about so many
	// bytes, which are kept for it until the attempt ends.
	StageAtLeast(ctx context.Context, dir, attempt string, bytes int64) (Staging, error)
	// HasRoom reports ErrFull if nothing more may be stored.
	HasRoom(ctx context.Context) error
}

// StageAtLeast is s.Stage for a point of which it may be known how many bytes it takes, about;
// 0 if it is not.
func StageAtLeast(ctx context.Context, s Sink, dir, attempt string, bytes int64) (Staging, error) {
	if r, ok := As[Rationed](s); ok {
		return r.StageAtLeast(ctx, dir, attempt, bytes)
	}
	return s.Stage(ctx, dir, attempt)
}

// Billed is a sink at a service that may charge for requests.
type Billed interface {
	// Requests returns how many requests it takes to store a point whose artifacts have these
	// sizes, if all goes well and nothing was staged before; 0 if nobody charges for them.
	Requests(sizes []int64) int64
}

// Formatted is a sink that keeps with which format it was set up.
type Formatted interface {
	// Format returns the [Identity]'s.
	Format() string
}

// Locator is a sink whose objects lie in a file system of this machine.
type Locator interface {
	// Path returns the path of the object at key, whether or not it is there.
	Path(key string) string
}

// As returns what a sink is beside its port: the first of it and of those that it wraps that
// is a T. A sink that wraps another one has a method Unwrap that returns it.
func As[T any](s Reader) (T, bool) {
	for s != nil {
		if as, ok := s.(T); ok {
			return as, true
		}
		wrapper, ok := s.(interface{ Unwrap() Sink })
		if !ok {
			break
		}
		s = wrapper.Unwrap()
	}
	var none T
	return none, false
}
