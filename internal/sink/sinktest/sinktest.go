// Package sinktest holds implementations of package sink to the port's comments,
// and has a sink in memory for the tests of what stores to one.
package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

// Place is where a sink lies, and what can happen to it from outside.
type Place interface {
	// Open returns an instance of the sink of its own, as another process has it.
	// The first call sets the sink up.
	Open(t *testing.T) sink.Sink
	// Contents returns every object that lies at the place by its name, whichever
	// sink is there, with what is staged and whatever else the sink keeps.
	Contents(t *testing.T) map[string]string
	// Replace puts another sink, which is empty, in the place of this one.
	Replace(t *testing.T)
	// Vanish takes the sink away, as an unmount does.
	Vanish(t *testing.T)
}

// Run is the conformance suite. place makes a place of its own for every test.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, group := range []map[string]func(*fixture){
		identityTests, pointTests, artifactTests, abortTests, publishTests, discardTests, unstageTests,
		blobTests, readTests, listTests, removeTests, markTests, keyTests, concurrencyTests, contextTests, absenceTests,
	} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			t.Run(name, func(t *testing.T) {
				p := place(t)
				group[name](&fixture{T: t, Place: p, sink: p.Open(t)})
			})
		}
	}
}

// RunInMemory is Run for what wrap returns over a sink in memory.
func RunInMemory(t *testing.T, wrap func(m *Memory) sink.Sink) {
	Run(t, func(*testing.T) Place { return inMemory{NewMemory(), wrap} })
}

// inMemory is where a sink in memory lies.
type inMemory struct {
	m    *Memory
	wrap func(m *Memory) sink.Sink
}

func (p inMemory) Open(*testing.T) sink.Sink             { return p.wrap(p.m.Reopen()) }
func (p inMemory) Contents(*testing.T) map[string]string { return p.m.Contents() }
func (p inMemory) Replace(*testing.T)                    { p.m.Replace() }
func (p inMemory) Vanish(*testing.T)                     { p.m.Vanish() }

// fixture is one test with its sink.
type fixture struct {
	*testing.T
	Place
	sink sink.Sink
}

// aPoint is the folder of a point.
const aPoint = "points/web01/container/web-1/20261122T213000Z-0011aabb"

func pointOf(host, name, id string) string {
	return path.Join("points", host, "container", name, id)
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// reports fails the test unless err is the error that is wanted.
func (f *fixture) reports(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: %v, want an error that is %q", what, err, want)
	}
}

func (f *fixture) stage(s sink.Sink, dir, attempt string) sink.Staging {
	f.Helper()
	staging, err := s.Stage(f.Context(), dir, attempt)
	f.must(err)
	f.Cleanup(func() { _ = staging.Discard(context.Background()) })
	return staging
}

// write stores one artifact, and returns its key.
func (f *fixture) write(staging sink.Staging, name, content string) string {
	f.Helper()
	key, err := write(f.Context(), staging, name, content)
	f.must(err)
	return key
}

func write(ctx context.Context, staging sink.Staging, name, content string) (string, error) {
	w, key, err := staging.Create(ctx, name, 0)
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(w, bytes.NewReader([]byte(content))); err == nil {
		err = w.Commit()
	}
	if err != nil {
		err = errors.Join(err, w.Abort())
	}
	return key, err
}

// naming returns a manifest that has the keys of artifacts in it.
func naming(keys ...string) []byte { return fmt.Appendf(nil, "%q", keys) }

// store stores a point with one artifact, and returns the artifact's key.
func (f *fixture) store(dir, attempt, manifest, content string) string {
	f.Helper()
	staging := f.stage(f.sink, dir, attempt)
	key := f.write(staging, "image.tar.zst", content)
	f.must(staging.Publish(f.Context(), []byte(manifest)))
	f.must(staging.Discard(f.Context()))
	return key
}

func (f *fixture) holds(s sink.Sink, key, want string) {
	f.Helper()
	got, err := read(f.Context(), s, key)
	f.must(err)
	if got != want {
		f.Errorf("%s holds %d bytes %.40q, want %d bytes %.40q", key, len(got), got, len(want), want)
	}
}

func read(ctx context.Context, s sink.Sink, key string) (string, error) {
	r, err := s.Open(ctx, key)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(r)
	return string(content), errors.Join(err, r.Close())
}

// lacks fails the test unless nothing is at key.
func (f *fixture) lacks(s sink.Sink, key string) {
	f.Helper()
	_, err := read(f.Context(), s, key)
	f.reports("open "+key, err, sink.ErrNotFound)
}

func (f *fixture) points(s sink.Sink) []string {
	f.Helper()
	dirs, err := points(f.Context(), s)
	f.must(err)
	return dirs
}

func points(ctx context.Context, s sink.Sink) (dirs []string, err error) {
	return pointsBelow(ctx, s, sink.PointsName)
}

func pointsBelow(ctx context.Context, s sink.Sink, below string) (dirs []string, err error) {
	for found, err := range s.Points(ctx, below) {
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, found.Dir)
	}
	return dirs, nil
}

// unchanged fails the test unless the place holds what it held before.
func (f *fixture) unchanged(before map[string]string) {
	f.Helper()
	after := f.Contents(f.T)
	for name := range after {
		if _, ok := before[name]; !ok {
			f.Errorf("%s was written", name)
		}
	}
	for name, content := range before {
		switch now, ok := after[name]; {
		case !ok:
			f.Errorf("%s was removed", name)
		case now != content:
			f.Errorf("%s was changed", name)
		}
	}
}

func manifestOf(dir string) string { return path.Join(dir, sink.ManifestName) }
