// Package object is a sink in an object store: a flat space of keys and bytes, without
// folders and without a rename.
//
//	holdfast.json                                       the sink's own id, written once
//	points/<host>/<kind>/<name>/<id>/manifest.json      makes the point exist
//	points/<host>/<kind>/<name>/<id>/<attempt>/<name>   its artifacts, by the attempt that stored them
//
// An attempt writes its artifacts under keys of its own, and creates the manifest only
// if there is none: that makes the point. What the manifest does not name is no part of
// a point, so an artifact needs no other step to be hidden until then.
//
// Removing a point removes its manifest first, then the rest, the mark that says so last.
//
// A store that is a [Locker] locks the artifacts of an attempt when the attempt is about to be
// published, and the manifest as it is created, all until one time. So every point is locked
// from its first moment on, and an attempt that fails before leaves nothing that is. Marks are
// never locked: they come and go. Blobs are locked when somebody says so: see [sink.Extender].
package object

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// ErrChanged is reported by [Store.Open] when the object is no longer the one that was
// asked for.
var ErrChanged = errors.New("the object was replaced meanwhile")

// Store is the port to an object store. Keys are as [sink.Sink] has them, relative to where
// the sink lies in the store; a prefix is the beginning of keys. A Store may be used by
// several goroutines, and several processes may use the same store at a time.
//
// An operation that fails for a passing reason is tried again by the Store, for about a
// minute, and its ctx ends it. Its errors wrap sink.ErrNotFound, sink.ErrExists and
// sink.ErrRange where the operation says so, sink.ErrFull where there is no room, and
// sink.ErrUnavailable where the store does not answer or refuses; they name the place.
//
// The suite in package objecttest holds every implementation to these comments.
type Store interface {
	// Place returns where key lies, for messages. It has no secret in it.
	Place(key string) string

	// Put stores a small object, in place of one that is there, and returns when it is
	// durable. Readers get the old one or the new one, whole.
	Put(ctx context.Context, key string, content []byte) error

	// PutNew is Put, and reports sink.ErrExists and changes nothing if there is an object.
	// Of several at a time one succeeds, as far as the store can promise that: see
	// [Store.Caveats]. A caller that gets sink.ErrExists may have stored the object
	// itself, if the answer to its first try was lost.
	PutNew(ctx context.Context, key string, content []byte) error

	// Begin begins an object, in place of one that is there, of a size that is not known;
	// most is as in [sink.Staging]. The end of ctx ends the upload too.
	Begin(ctx context.Context, key string, most int64) (Upload, error)

	// Open reads an object from offset on: length bytes, or all if length is negative. The
	// object must be the version that info says, if that is not empty; otherwise it
	// reports ErrChanged. It reports sink.ErrNotFound, and sink.ErrRange if offset is beyond
	// the end. The end of ctx ends the reading too. A read that fails is not tried again.
	Open(ctx context.Context, key string, offset, length int64, version string) (r io.ReadCloser, info Info, err error)

	// Stat returns what is known of the object at key, or reports sink.ErrNotFound, which
	// some stores answer also where they are gone as a whole.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields every object whose key begins with prefix, in the byte order of the
	// keys. It ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[Entry, error]

	// Delete removes the object at key, and in a [Locker] all its versions. It is no error
	// if there is none. It reports a *sink.LockedError while the object is locked, and
	// sink.ErrMayNotRemove if the credentials do not let it.
	Delete(ctx context.Context, key string) error

	// Sweep removes the uploads below prefix that were begun and neither committed nor
	// aborted, by whichever process. It reports sink.ErrMayNotRemove as Delete does.
	Sweep(ctx context.Context, prefix string) error

	// Caveats finds out what the store cannot do, by trying it with an object at key, which
	// it leaves there. They are sentences for an operator.
	Caveats(ctx context.Context, key string) ([]string, error)
}

// Locker is a store that locks what points are made of: until a date nobody can remove it.
type Locker interface {
	Store

	// CheckLock reports why the store cannot lock objects.
	CheckLock(ctx context.Context) error

	// LockFor returns for how long the store is told to lock points.
	LockFor() time.Duration

	// Lock has the object at key locked until a time at least, or reports sink.ErrNotFound.
	// It shortens no lock.
	Lock(ctx context.Context, key string, until time.Time) error

	// PutNewLocked is PutNew, and the object is locked from its first moment.
	PutNewLocked(ctx context.Context, key string, content []byte, until time.Time) error

	// LockedUntil returns until when the object at key is locked; the zero time if it is
	// not, or is not there.
	LockedUntil(ctx context.Context, key string) (time.Time, error)

	// TryLock finds out whether objects can be locked, with a small one at key, which it
	// leaves there for a minute at least. how says for people how objects are locked.
	TryLock(ctx context.Context, key string) (how string, err error)
}

// Billed is a Store at a service that may charge for requests.
type Billed interface {
	// Requests returns how many requests an Upload takes of an object of so many bytes.
	Requests(size int64) int64
}

// Upload is an object that is written. One goroutine uses it. It must be ended by Commit
// or Abort; after a Commit that failed Abort must follow.
type Upload interface {
	// Write appends to the object. It reports sink.ErrTooLarge if the store cannot take it.
	io.Writer

	// Commit returns when the object is there, and durable.
	Commit() error

	// Abort removes what was written, also what a Commit that failed has stored after all.
	// Of a request that was broken off something may arrive later, as an upload that Sweep
	// removes. It does not need the ctx of Begin.
	Abort(ctx context.Context) error
}

// Info is what a store knows of an object.
type Info struct {
	Size int64 // in bytes
	// Version changes when the object is replaced.
	Version string
	// Modified is when the object was stored, by the store's own clock, to the second; zero if
	// that is not known.
	Modified time.Time
}

// Entry is an object that was found.
type Entry struct {
	Key string
	Info
}
