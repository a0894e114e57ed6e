package copies_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// storeLayers stores a point of an image of these layers, in the layered format.
func (b *bench) storeLayers(in sink.Sink, dir, id string, layers ...string) *point.Manifest {
	b.Helper()
	valid, err := examples.Valid("manifest")
	b.must(err)
	m, err := point.Decode(valid["layers.json"])
	b.must(err)
	m.ID, m.Artifacts, m.Signature = id, nil, ""
	staging, err := in.Stage(b.Context(), dir, "1")
	b.must(err)
	info := &archive.Info{}
	for _, content := range layers {
		info.DiffIDs = append(info.DiffIDs, digestOf(content))
	}
	info.Config = fmt.Appendf(nil, `{"rootfs":{"diff_ids":["%s"]}}`, strings.Join(info.DiffIDs, `","`))
	m.Image.ConfigDigest, m.Image.Layers = digestOf(string(info.Config)), len(layers)
	w := &image.Writer{Sink: in, Staging: staging}
	b.must(w.Begin(b.Context(), info.DiffIDs))
	for i, content := range layers {
		l, err := w.Next(info.DiffIDs[i], int64(len(content)))
		b.must(err)
		_, err = io.WriteString(l, content)
		b.must(err)
		b.must(l.End(info.DiffIDs[i]))
	}
	m.Artifacts, err = w.Finish(info)
	b.must(err)
	b.must(blob.Publish(b.Context(), in, staging, m))
	return m
}

// A copy of a point of the layered format brings the layers that the sink lacks, and they
// are found there by what is stored next.
func TestCopyLayers(t *testing.T) {
	b := newBench(t)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	const other = "20260302T141503Z-441e7819"
	b.storeLayers(b.to, point.Dir(m.Host, m.Item.Kind, m.Item.Name, other), other, "base")
	result, err := b.copy()
	b.must(err)
	reused := map[string]bool{}
	for _, a := range result.Manifest.Artifacts {
		if a.MediaType == point.MediaTypeLayer {
			reused[a.Name] = a.Reused
		}
		if b.to.Contents()[a.Key] != b.from.Contents()[a.Key] {
			t.Errorf("%s is another one in the copy", a.Key)
		}
	}
	if want := map[string]bool{digestOf("base"): true, digestOf("top"): false}; !maps.Equal(reused, want) {
		t.Errorf("reused are %v, want %v", reused, want)
	}
	if _, found, err := blob.Find(t.Context(), b.to, digestOf("top")); err != nil || !found {
		t.Errorf("the layer that was copied is found: %t, %v", found, err)
	}
	copied, err := point.Read(t.Context(), b.to, dir)
	b.must(err)
	if copied.FormatVersion != point.LayeredVersion {
		t.Errorf("the copy is of format %d", copied.FormatVersion)
	}
}

// A blob that is damaged is not copied.
func TestCopyADamagedLayer(t *testing.T) {
	b := newBench(t)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	b.from.Corrupt(m.Artifacts[0].Key, func(content []byte) []byte { content[len(content)/2] ^= 1; return content })
	_, err := b.copy()
	b.mustFail(err, events.CodePointDamaged, "is not copied")
	if _, there := b.to.Contents()[m.Artifacts[0].Key]; there {
		t.Error("the blob is there")
	}
	if _, err := point.Read(t.Context(), b.to, dir); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("the point is there: %v", err)
	}
}

// A copy that is there already, whose worker died before it looked, is made whole; and where
// that cannot be, what is there of it stays.
func TestCopyThatLacksBlobs(t *testing.T) {
	for name, harm := range map[string]func(b *bench, key string) error{
		"a blob is gone": func(b *bench, key string) error { return b.to.RemoveShared(b.Context(), key) },
		"a blob is cut short": func(b *bench, key string) error {
			b.to.Corrupt(key, func(c []byte) []byte { return c[:1] })
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			m := b.storeLayers(b.from, dir, id, "base", "top")
			_, err := b.copy()
			b.must(err)
			for _, a := range m.Artifacts {
				if point.IsShared(&a) {
					b.must(harm(b, a.Key))
				}
			}
			result, err := b.copy()
			b.must(err)
			if !result.AlreadyThere {
				t.Error("the point was not there")
			}
			for _, a := range m.Artifacts {
				if b.to.Contents()[a.Key] != b.from.Contents()[a.Key] {
					t.Errorf("%s is another one in the copy", a.Key)
				}
			}
			b.must(harm(b, m.Artifacts[0].Key))
			b.must(b.from.RemoveShared(b.Context(), m.Artifacts[0].Key))
			_, err = b.copy()
			b.mustFail(err, events.CodePointDamaged, "lies in sink b without "+m.Artifacts[0].Key)
			if _, err := point.Read(t.Context(), b.to, dir); err != nil {
				t.Errorf("the point: %v", err)
			}
		})
	}
}

// A layer that is known to be damaged where it is copied to is copied again, for all points that
// have it.
func TestCopyMends(t *testing.T) {
	b := newBench(t)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	base := m.Artifacts[0]
	const other = "20260302T141503Z-441e7819"
	b.storeLayers(b.to, point.Dir(m.Host, m.Item.Kind, m.Item.Name, other), other, "base")
	b.to.Corrupt(base.Key, func(c []byte) []byte { c[len(c)/2] ^= 1; return c })
	_, err := blob.Forget(t.Context(), b.to, &base)
	b.must(err)
	_, err = b.copy()
	b.must(err)
	if b.to.Contents()[base.Key] != b.from.Contents()[base.Key] {
		t.Error("the blob is still damaged")
	}
}

// A copy that misses a blob when it has appeared is removed again, and what else fails then
// leaves it to the next attempt.
func TestCopyLooksWhenItIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		fault error
		stays bool
	}{"the sink is away": {sink.ErrUnavailable, true}, "a blob is gone": {sink.ErrNotFound, false}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.storeLayers(b.from, dir, id, "base", "top")
			task := b.task()
			task.Progress = func(at events.Step, _, _, _ int64) {
				if at == events.StepPublish {
					b.to.FailMaybe(sinktest.OpStat, 1, c.fault)
				}
			}
			_, err := b.runner.Run(b.Context(), task)
			b.mustFail(err, events.CodeSinkUnavailable, "copy point "+id+" to sink b")
			if _, err := point.Read(t.Context(), b.to, dir); errors.Is(err, sink.ErrNotFound) == c.stays {
				t.Errorf("the point: %v", err)
			}
			result, err := b.copy()
			b.must(err)
			if result.AlreadyThere != c.stays {
				t.Errorf("it was there: %t", result.AlreadyThere)
			}
		})
	}
}

// What a copy in a sink that locks needs is locked for as long as the copy is: what is copied,
// what lay there, and what is stored anew for a point that is there already.
func TestCopyLocksLayers(t *testing.T) {
	b := newBench(t)
	b.to.LockFor(time.Hour)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	const other = "20260302T141503Z-441e7819"
	b.storeLayers(b.to, point.Dir(m.Host, m.Item.Kind, m.Item.Name, other), other, "base")
	b.to.LockFor(30 * 24 * time.Hour) // what is there is locked no longer
	locked := func(dir string) {
		t.Helper()
		until, err := b.to.LockedUntil(t.Context(), dir)
		b.must(err)
		for _, a := range m.Artifacts {
			if !point.IsShared(&a) {
				continue
			}
			if blobUntil, err := b.to.BlobLockedUntil(t.Context(), a.Key); err != nil || blobUntil.IsZero() || blobUntil.Before(until) {
				t.Errorf("%s is locked until %s, %v, and its point until %s", a.Key, blobUntil, err, until)
			}
		}
	}
	_, err := b.copy()
	b.must(err)
	locked(dir)
	b.to.LockFor(24 * time.Hour)
	b.must(b.to.RemoveShared(t.Context(), m.Artifacts[0].Key))
	_, err = b.copy()
	b.must(err)
	locked(dir)
}
