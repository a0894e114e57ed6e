package copies_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
	"holdfast.io/holdfast/schemas/examples"
)

const (
	id  = "20260302T141503Z-441e7818"
	dir = "points/web01/container/web-1/" + id
	job = "ptg32uecxwng6yf7"
)

// bench are two sinks, and what copies from one to the other.
type bench struct {
	*testing.T
	from, to *sinktest.Memory
	// seals are how the sinks encrypt, by their names.
	seals   map[string]*seal.Seal
	runner  *copies.Runner
	records *undotest.Memory
	attempt uint64
	// damage is what becomes of an artifact after it was stored; nil for that it is gone.
	damage func(name string, stored []byte) []byte
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, from: sinktest.NewMemory(), to: sinktest.NewMemory(), seals: map[string]*seal.Seal{}, records: &undotest.Memory{}}
	log := zaptest.NewLogger(t)
	sweeper := &undo.Sweeper{Locks: &undo.Locks{}, Store: b.records, Sinks: sinks{"b": b.to}, Log: log}
	b.runner = &copies.Runner{Sweeper: sweeper, Log: log}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { sweeper.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return b
}

type sinks map[string]sink.Sink

func (s sinks) Open(_ context.Context, name string) (sink.Sink, error) { return s[name], nil }

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// sink is a sink with the seal that the bench has for it.
func (b *bench) sink(name string, s sink.Sink) copies.Sink {
	if own := b.seals[name]; own != nil {
		s = &seal.Sealed{Sink: s, Seal: own}
	}
	return copies.Sink{Name: name, Sink: s}
}

// task is the copy of the point by the next attempt.
func (b *bench) task() copies.Task {
	b.attempt++
	item := events.Item{Kind: events.ItemContainer, ID: strings.Repeat("3f", 32), Name: "web-1"}
	return copies.Task{
		Job: job, Attempt: b.attempt, From: b.sink("a", b.from), To: b.sink("b", b.to), Progress: func(events.Step, int64, int64, int64) {},
		Item: copies.Item{Dir: dir, PlannedItem: events.PlannedItem{Item: item, Point: id}},
	}
}

func (b *bench) copy() (*copies.Result, error) { return b.runner.Run(b.Context(), b.task()) }

// content is what the artifacts of the point hold, by their names.
var content = map[string]string{
	point.ImageArchive:           strings.Repeat("layers and layers ", 100_000),
	point.ContainerConfig:        `{"Id":"3f"}`,
	point.VolumeArchive("pg/db"): strings.Repeat("rows ", 20_000),
}

var mediaTypes = map[string]string{
	point.ImageArchive: point.MediaTypeImageArchive, point.ContainerConfig: point.MediaTypeContainerConfig,
	point.VolumeArchive("pg/db"): point.MediaTypeVolume,
}

// store puts the point into the sink that is copied from, encrypted as that says.
func (b *bench) store() *point.Manifest {
	b.Helper()
	valid, err := examples.Valid("manifest")
	b.must(err)
	m, err := point.Decode(valid["container.json"])
	b.must(err)
	m.ID, m.Artifacts, m.Signature = id, nil, ""
	staging, err := b.from.Stage(b.Context(), dir, "1")
	b.must(err)
	for _, name := range []string{point.ImageArchive, point.ContainerConfig, point.VolumeArchive("pg/db")} {
		a := events.Artifact{MediaType: mediaTypes[name]}
		if a.MediaType == point.MediaTypeVolume {
			a.Name = "pg/db"
		}
		to := codec.Destination{}
		if s := b.seals["a"]; s.Encrypts() {
			a.Encryption, to.Encrypt = seal.Format, s.Encrypt
			name += seal.Suffix
		}
		var raw bytes.Buffer
		to.Writer = &raw
		out, err := codec.NewPlainWriter(to)
		b.must(err)
		_, err = io.WriteString(out, content[strings.TrimSuffix(name, seal.Suffix)])
		b.must(err)
		stored, err := out.Finish()
		b.must(err)
		a.Key = path.Join(dir, name)
		b.put(staging, name, raw.Bytes())
		a.Size, a.Digest, a.UncompressedSize = stored.Size, stored.Digest, 12345
		m.Artifacts = append(m.Artifacts, a)
	}
	b.must(point.Publish(b.Context(), b.sink("a", b.from), staging, m))
	return m
}

func (b *bench) put(staging sink.Staging, name string, raw []byte) {
	b.Helper()
	if b.damage != nil {
		if raw = b.damage(name, raw); raw == nil {
			return
		}
	}
	w, _, err := staging.Create(b.Context(), name, 0)
	b.must(err)
	_, err = w.Write(raw)
	b.must(err)
	b.must(w.Commit())
}

// mustBeWhole checks that the copy says what the point does, and that its artifacts hold
// what they should, by way of an identity if they are encrypted; nil for none.
func (b *bench) mustBeWhole(of *point.Manifest, identity *age.X25519Identity) *point.Manifest {
	b.Helper()
	m, err := point.Read(b.Context(), b.to, dir)
	b.must(err)
	if len(m.Artifacts) != len(of.Artifacts) {
		b.Fatalf("the copy has %d artifacts, and the point %d", len(m.Artifacts), len(of.Artifacts))
	}
	for i, a := range m.Artifacts {
		raw := b.to.Contents()[a.Key]
		sum := sha256.Sum256([]byte(raw))
		if a.Size != int64(len(raw)) || a.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			b.Errorf("%s has %d bytes, and the manifest says %d and %s", a.Key, len(raw), a.Size, a.Digest)
		}
		name := strings.TrimPrefix(a.Key, dir+"/")
		if encrypted := strings.HasSuffix(name, seal.Suffix); encrypted != (a.Encryption != "") || encrypted != (identity != nil) {
			b.Errorf("%s is encrypted as %q", name, a.Encryption)
		}
		if identity != nil {
			plain, err := age.Decrypt(strings.NewReader(raw), identity)
			b.must(err)
			all, err := io.ReadAll(plain)
			b.must(err)
			raw = string(all)
		}
		if raw != content[strings.TrimSuffix(name, seal.Suffix)] {
			b.Errorf("%s does not hold what it should", name)
		}
		m.Artifacts[i] = of.Artifacts[i]
	}
	if (len(m.Sealed) > 0) != (identity != nil) {
		b.Errorf("of the manifest %d bytes are encrypted", len(m.Sealed))
	}
	if identity != nil {
		b.must(m.Unseal(b.Context(), sealFor(b.T, nil, identity)))
	}
	was, err := of.Encode()
	b.must(err)
	m.Signature = of.Signature
	is, err := m.Encode()
	b.must(err)
	if !bytes.Equal(was, is) {
		b.Errorf("the copy says\n%s\nand the point\n%s", is, was)
	}
	return m
}

// mustBeNothing checks that nothing of a copy is left, not even a record.
func (b *bench) mustBeNothing() {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		records, err := b.records.List()
		b.must(err)
		left := b.to.Contents()
		if len(records) == 0 && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("left are %q, and the records %+v", left, records)
		}
	}
}

// mustFail checks what an error says.
func (b *bench) mustFail(err error, code events.Code, says string) {
	b.Helper()
	e, ok := err.(*failure.Error)
	if !ok || e.Code != code || !strings.Contains(e.Error(), says) {
		b.Errorf("the error is %+v: %v, want %s: %s", e, err, code, says)
	}
}
