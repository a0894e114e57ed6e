package verify_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
	"holdfast.io/holdfast/internal/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	jobID     = "ptg32uecxwng6yf7"
	baseImage = "base:v1"
)

// bench is a worker with its Engine and its sink, all in memory.
type bench struct {
	*testing.T
	engine  *enginetest.Fake
	sink    *sinktest.Memory
	seal    *seal.Seal // the sink's; nil for none
	records *undotest.Memory
	sweeper *undo.Sweeper
	runner  *verify.Runner
	steps   []events.Step
	// containers is how many there are that are not a drill's.
	containers int
}

// withBench runs a test in a bubble of time, and holds that nothing is left in the end.
func withBench(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		test(b)
		b.settle()
	})
}

// settle waits until all is undone, and holds that nothing of a drill is left.
func (b *bench) settle() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	if err := b.sweeper.Wait(ctx); err != nil {
		b.Errorf("left are %q: %v", b.sweeper.Left(), err)
	}
	if left, err := b.records.List(); err != nil || len(left) > 0 {
		b.Errorf("the records are %+v, %v", left, err)
	}
	containers, err := b.engine.Containers(b.Context())
	if err != nil || len(containers) != b.containers {
		b.Errorf("the containers are %+v, %v", containers, err)
	}
	for _, ref := range b.engine.References() {
		if engine.IsTemporary(ref) {
			b.Errorf("image %s is left", ref)
		}
	}
	if pending := b.engine.Pending(); len(pending) > 0 {
		b.Errorf("faults that were not met: %q", pending)
	}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	e := enginetest.NewFake("host")
	b := &bench{T: t, engine: e, sink: sinktest.NewMemory(), records: &undotest.Memory{}}
	log := zaptest.NewLogger(t)
	b.sweeper = &undo.Sweeper{Engine: e, Locks: &undo.Locks{}, Store: b.records, Sinks: sinks{"default": b.sink}, Log: log}
	b.runner = &verify.Runner{Engine: e, Sweeper: b.sweeper, Version: "test", Log: log}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { b.sweeper.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return b
}

type sinks map[string]sink.Sink

func (s sinks) Open(_ context.Context, name string) (sink.Sink, error) { return s[name], nil }

// in is the sink with its seal.
func (b *bench) in() sink.Sink {
	if b.seal == nil {
		return b.sink
	}
	return &seal.Sealed{Sink: b.sink, Seal: b.seal}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// stored is a point that a test stores: its manifest, and what lies there of it.
type stored struct {
	*point.Manifest
	dir   string
	files map[string][]byte // by their names in the point's folder
}

// container makes a point of a container that ran.
func (b *bench) container(name string) *stored {
	b.Helper()
	id := digest([]byte(name))[len("sha256:"):]
	s := b.point(events.Item{Kind: events.ItemContainer, ID: id, Name: name})
	s.State, s.Quiesce = events.StateRunning, events.QuiescePause
	s.plain(point.ContainerConfig, point.MediaTypeContainerConfig, "",
		fmt.Appendf(nil, `{"Id":%q,"Name":%q,"Config":{"Env":["A=b"]},"padding":%q}`, id, "/"+name, strings.Repeat("x", 100)))
	s.image(b)
	return s
}

// point makes a point of an item without artifacts.
func (b *bench) point(item events.Item) *stored {
	at := time.Date(2026, 3, 2, 14, 15, 3, 0, time.UTC)
	m := &point.Manifest{
		FormatVersion: point.FormatVersion, ID: events.PointID(at, "/test", item.Name, "host", item.Kind, item.ID), Host: "host", Item: item, Job: jobID,
		Request: point.Request{Source: "/test", ID: item.Name, CorrelationID: item.Name}, Attempt: 1, SnapshotTime: at, StoredTime: at,
		Engine: point.Engine{Version: "28", Store: "overlay2"}, Artifacts: []events.Artifact{}, NotIncluded: []events.NotIncluded{}, Holdfast: "test",
	}
	return &stored{Manifest: m, dir: point.Dir(m.Host, item.Kind, item.Name, m.ID), files: map[string][]byte{}}
}

// image adds an image archive of several frames. The Engine does not have the image
// afterwards.
func (s *stored) image(b *bench) {
	b.Helper()
	id := b.engine.AddImage()
	saved, err := b.engine.Save(b.Context(), id)
	b.must(err)
	raw, err := io.ReadAll(saved)
	b.must(err)
	info, err := archive.Check(bytes.NewReader(raw), id)
	b.must(err)
	b.engine.LoseImage(id)
	s.Image = &point.Image{ID: id, ConfigDigest: info.ConfigDigest, Layers: len(info.DiffIDs), Reference: baseImage}
	// Zeros may follow the end mark.
	s.compressed(b, point.ImageArchive, point.MediaTypeImageArchive, "", append(raw, make([]byte, 1<<20)...))
}

// volumeFile is the artifact that volume adds.
const volumeFile = "volumes/pgdata.tar.zst"

// volume adds the archive of a volume, of several frames.
func (s *stored) volume(b *bench) {
	b.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	content := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content[:1<<20+1000])
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	b.must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: at, Format: tar.FormatPAX}))
	b.must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./data", Mode: 0o644, Size: int64(len(content)), ModTime: at, Format: tar.FormatPAX}))
	_, err := w.Write(content)
	b.must(errors.Join(err, w.Close()))
	s.compressed(b, volumeFile, point.MediaTypeVolume, "pgdata", raw.Bytes())
}

func (s *stored) plain(name, mediaType, of string, content []byte) {
	s.add(name, events.Artifact{MediaType: mediaType, Name: of, UncompressedSize: int64(len(content))}, content)
}

func (s *stored) compressed(b *bench, name, mediaType, of string, content []byte) {
	b.Helper()
	var lies bytes.Buffer
	w, err := codec.NewWriter(codec.Destination{Writer: &lies}, codec.Compression{})
	b.must(err)
	_, err = w.Write(content)
	b.must(err)
	_, err = w.Finish()
	b.must(err)
	s.add(name, events.Artifact{MediaType: mediaType, Name: of, UncompressedSize: int64(len(content))}, lies.Bytes())
}

func (s *stored) add(name string, a events.Artifact, lies []byte) {
	a.Key, a.Size, a.Digest = path.Join(s.dir, name), int64(len(lies)), digest(lies)
	s.Artifacts = append(s.Artifacts, a)
	s.files[name] = lies
}

// store puts the point into the sink as it is now.
func (b *bench) store(s *stored) verify.Item {
	b.Helper()
	raw, err := s.Encode()
	b.must(err)
	return b.storeAs(s, raw)
}

func (b *bench) storeAs(s *stored, manifest []byte) verify.Item {
	b.Helper()
	ctx := b.Context()
	staging, err := b.sink.Stage(ctx, s.dir, "1")
	b.must(err)
	for name, content := range s.files {
		w, _, err := staging.Create(ctx, name, 0)
		b.must(err)
		_, err = w.Write(content)
		b.must(errors.Join(err, w.Commit()))
	}
	b.must(staging.Publish(ctx, manifest))
	b.must(staging.Discard(ctx))
	return verify.Item{Dir: s.dir, PlannedItem: events.PlannedItem{Item: s.Item, Point: s.ID}}
}

// verify verifies a point.
func (b *bench) verify(item verify.Item, level events.VerifyLevel) (*verify.Result, error) {
	return b.verifyUntil(b.Context(), item, level, func(events.Step, int64) {})
}

func (b *bench) verifyUntil(
	ctx context.Context, item verify.Item, level events.VerifyLevel, watch func(step events.Step, read int64),
) (*verify.Result, error) {
	return b.runner.Run(ctx, verify.Task{
		Host: "host", Job: jobID, Attempt: 1, Item: item, SinkName: "default", Sink: b.in(), Level: level, Users: &verify.Users{},
		Progress: func(step events.Step, read, _, _ int64) {
			b.steps = append(b.steps, step)
			watch(step, read)
		},
	})
}

// wantError holds the error of a point against its code.
func (b *bench) wantError(err error, code events.Code, retryable bool) *failure.Error {
	b.Helper()
	e, ok := errors.AsType[*failure.Error](err)
	if !ok {
		b.Fatalf("the error is %v, want one with the code %s", err, code)
	}
	if e.Code != code || e.Retryable != retryable {
		b.Errorf("the error is %s (retryable: %v), %v; want %s (%v)", e.Code, e.Retryable, e, code, retryable)
	}
	return e
}

// mark is the mark beside a point; nil if there is none.
func (b *bench) mark(dir string) *point.Verified {
	b.Helper()
	marks := point.ReadMarks(b.Context(), b.sink, dir, sink.VerifiedName)
	if err := marks.Unread[sink.VerifiedName]; err != nil {
		b.Fatal(err)
	}
	return marks.Verified
}

// plainOf is the content of what was stored compressed.
func plainOf(b *bench, lies []byte) io.Reader {
	b.Helper()
	r, err := codec.NewReader(bytes.NewReader(lies), codec.Stored{Size: int64(len(lies)), Digest: digest(lies)}, nil)
	b.must(err)
	b.Cleanup(func() { _ = r.Close() })
	return r
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
