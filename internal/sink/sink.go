// Package sink is the port to the places where recovery points are stored, and
// its sub-packages are the implementations.
//
// A point is a folder of artifacts and one manifest. It appears whole or not at
// all: a point exists when its manifest does, and the first manifest wins.
package sink

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Errors that every implementation reports, so that callers can tell them apart
// with [errors.Is]. Their messages are completed by the implementation with the
// place and the remedy.
var (
	// ErrExists is reported by [Staging.Publish] when the point is there already.
	ErrExists = errors.New("the point is already there")
	// ErrNotFound is reported when a key leads to nothing.
	ErrNotFound = errors.New("not in the sink")
	// ErrFull means that the sink has no room left.
	ErrFull = errors.New("the sink is full")
	// ErrUnavailable means that the sink cannot be used as it is: missing,
	// read-only, forbidden, unreachable, or not the sink it is taken for.
	ErrUnavailable = errors.New("the sink is not available")
)

// Sink stores points.
//
// Keys are slash-separated and relative, in the form that [path.Clean] leaves,
// valid UTF-8 without backslash or NUL, and no element is longer than 255 bytes;
// other keys are refused. No symbolic link inside a sink is followed.
//
// A Sink may be used by several goroutines, and several processes may use the
// same sink at a time. An operation whose ctx has ended reports its error.
//
// The suite in package sinktest holds every implementation to these comments.
type Sink interface {
	// ID returns the sink's own id, which was made when it was set up and stays
	// with it wherever it is mounted.
	ID() string

	// Stage begins the point at dir (points/<host>/<kind>/<name>/<point id>);
	// another dir is refused. The point's id occurs once in a sink, and with the
	// attempt it makes one element of a key.
	// Nothing is visible at dir before Publish. Stagings of different attempts at
	// the same point do not disturb each other; an attempt that was staged before,
	// and left by a process that died, is replaced. It reports ErrUnavailable
	// before anything was written if the sink is not the one that was opened.
	Stage(ctx context.Context, dir, attempt string) (Staging, error)

	// Unstage removes what an attempt at the point at dir left staged when it died,
	// and only that: a point that the attempt published stays, and so do other
	// attempts. It returns when that is durable, and it is no error if nothing is
	// there. The attempt must not be in use in this process. It reports
	// ErrUnavailable if the sink is not the one that was opened.
	Unstage(ctx context.Context, dir, attempt string) error

	// Open reads the object at key. It reports ErrNotFound if there is none, and
	// ErrUnavailable if that cannot be told, as the sink is not the one that was
	// opened. The end of ctx ends the reading too.
	Open(ctx context.Context, key string) (io.ReadCloser, error)

	// Points yields the folder of every point that has a manifest, in the byte
	// order of the keys in them ("a-b/" is before "a/"). It ends after the first
	// error, which is ErrUnavailable if the sink is not the one that was opened.
	Points(ctx context.Context) iter.Seq2[string, error]
}

// Staging is one attempt at storing a point. It belongs to one goroutine. It
// must be ended by Discard, also after Publish.
type Staging interface {
	// Create begins the artifact name (image.tar.zst, volumes/data.tar.zst) and
	// returns the key under which it can be opened once the point is published.
	// Artifacts are written one after another. Close makes the artifact durable
	// and reports whether it is. After a Write that failed, or the end of ctx,
	// Close makes nothing durable and reports that error again. A name that was
	// used is refused, and so is ManifestName.
	Create(ctx context.Context, name string) (w io.WriteCloser, key string, err error)

	// Publish makes the point appear, with this manifest, and returns when that is
	// durable. It reports ErrExists, and changes nothing, if the point is there,
	// and ErrUnavailable if the sink is not the one that was opened. It refuses an
	// attempt with an artifact that was not closed, or whose Close failed. After
	// any other outcome only Discard may follow.
	Publish(ctx context.Context, manifest []byte) error

	// Discard removes what the attempt wrote and did not publish, and only that.
	// It ignores the cancellation of ctx. After Publish it does nothing. It may be
	// called more than once.
	Discard(ctx context.Context) error
}

// Prober is a sink that can be tried without storing a point.
type Prober interface {
	// Probe writes a small object durably and removes it.
	Probe(ctx context.Context) error
}

// Spacer is a sink that knows how much room it has.
type Spacer interface {
	// Free returns how many bytes may still be written.
	Free(ctx context.Context) (int64, error)
}

// Locator is a sink whose objects lie in a file system of this machine.
type Locator interface {
	// Path returns the path of the object at key, whether or not it is there.
	Path(key string) string
}

// ManifestName is the name of the object that makes a point exist.
const ManifestName = "manifest.json"
