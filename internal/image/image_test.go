package image_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// box is a sink of a test, in memory.
type box struct {
	sink.Sink
	memory *sinktest.Memory
	sealed bool
}

// Unwrap returns the sink, for [sink.As].
func (s box) Unwrap() sink.Sink { return s.Sink }

// keys makes an identity and a key for names, and returns the seal that has them.
func keys(t *testing.T) seal.Options {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	o := seal.Options{Recipients: []string{identity.Recipient().String()},
		IdentityFile: filepath.Join(t.TempDir(), "identity"), NameKeyFile: filepath.Join(t.TempDir(), "names")}
	for file, content := range map[string]string{o.IdentityFile: identity.String(), o.NameKeyFile: base64.StdEncoding.EncodeToString([]byte(rand32()))} {
		if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// rand32 returns 32 bytes that are another key each time.
func rand32() string { return crand.Text() + crand.Text()[:6] }

// sealing returns the sink as who has these keys has it.
func sealing(t *testing.T, m *sinktest.Memory, o seal.Options) sink.Sink {
	t.Helper()
	s, err := seal.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &seal.Sealed{Sink: m, Seal: s}
}

// inBoth runs a test with a sink in clear, and with one that encrypts.
func inBoth(t *testing.T, run func(t *testing.T, s box)) {
	t.Run("clear", func(t *testing.T) {
		m := sinktest.NewMemory()
		run(t, box{m, m, false})
	})
	t.Run("sealed", func(t *testing.T) {
		m := sinktest.NewMemory()
		run(t, box{sealing(t, m, keys(t)), m, true})
	})
}

// of returns the first number for a sink in clear, and the other one for one that encrypts.
func (s box) of(clear, sealed int) int {
	if s.sealed {
		return sealed
	}
	return clear
}

// picture is an image of a test.
type picture struct {
	config  []byte
	layers  [][]byte
	diffIDs []string
}

func newPicture(layers ...string) picture {
	var p picture
	for _, l := range layers {
		p.layers = append(p.layers, []byte(l))
		p.diffIDs = append(p.diffIDs, digestOf([]byte(l)))
	}
	p.config, _ = json.Marshal(map[string]any{"rootfs": map[string]any{"diff_ids": append([]string{}, p.diffIDs...)}})
	return p
}

// saved is what docker save writes of it.
func (p picture) saved() io.ReadCloser {
	parts := archive.Parts{ConfigDigest: digestOf(p.config), Config: p.config}
	for i, l := range p.layers {
		parts.Layers = append(parts.Layers, archive.Part{DiffID: p.diffIDs[i], Size: int64(len(l)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l)), nil }})
	}
	return archive.Join(parts)
}

// store stores a point with the image, as a job does, and returns its manifest.
func store(ctx context.Context, in sink.Sink, name, id string, p picture) (m *point.Manifest, err error) {
	valid, err := examples.Valid("manifest")
	if err != nil {
		return nil, err
	}
	if m, err = point.Decode(valid["container.json"]); err != nil {
		return nil, err
	}
	m.FormatVersion, m.ID, m.Item.Name, m.Artifacts, m.Signature = point.LayeredVersion, id, name, nil, ""
	dir := point.Dir(m.Host, m.Item.Kind, name, id)
	there, err := point.Read(ctx, in, dir)
	if err == nil { // an earlier attempt may not have settled it
		err = blob.Settle(ctx, in, dir, there)
	}
	if !errors.Is(err, sink.ErrNotFound) && !errors.Is(err, blob.ErrRemoved) {
		return there, err
	}
	staging, err := in.Stage(ctx, dir, "1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, staging.Discard(context.WithoutCancel(ctx))) }()
	w := &image.Writer{Sink: in, Staging: staging, Compression: codec.Compression{}}
	if err := w.Begin(ctx, p.diffIDs); err != nil {
		return nil, err
	}
	saved := p.saved()
	defer saved.Close()
	info, err := archive.Split(saved, digestOf(p.config), w)
	if err != nil {
		return nil, err
	}
	if m.Artifacts, err = w.Finish(info); err != nil {
		return nil, err
	}
	m.Image = &point.Image{ID: info.ConfigDigest, ConfigDigest: info.ConfigDigest, Layers: len(info.DiffIDs)}
	if err := blob.Publish(ctx, in, staging, m); err != nil {
		return nil, err
	}
	if err := blob.Settle(ctx, in, dir, m); err != nil {
		return nil, err
	}
	return m, nil
}

func idOf(n int) string { return fmt.Sprintf("20260302T1415%02dZ-%08x", n%60, n) }

func mustStore(t *testing.T, in sink.Sink, n int, p picture) *point.Manifest {
	t.Helper()
	m, err := store(t.Context(), in, "web-1", idOf(n), p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mustLoad reads the image of a point back.
func mustLoad(t *testing.T, from sink.Sink, m *point.Manifest, p picture) {
	t.Helper()
	read, err := point.Read(t.Context(), from, point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID))
	if err != nil {
		t.Fatal(err)
	}
	r, err := image.Source{Manifest: read, Open: from.Open, Seal: seal.Of(from)}.Archive(t.Context(), "repo:tag")
	if err != nil {
		t.Fatal(err)
	}
	info, err := archive.Check(r, digestOf(p.config))
	if err = errors.Join(err, r.Close()); err != nil || !slices.Equal(info.DiffIDs, p.diffIDs) {
		t.Errorf("read back it is %+v, %v", info, err)
	}
}

var (
	base    = strings.Repeat("the base layer, which is large ", 30_000)
	web     = newPicture(base, "the web server", "what the container wrote")
	changed = newPicture(base, "the web server", "what the container wrote later")
)

// Each layer is stored once, whatever points have it, and every point can be read.
func TestEachLayerOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		pictures := []picture{web, web, changed, newPicture("another", base, "another"), newPicture()}
		var all []*point.Manifest
		for i, p := range pictures {
			all = append(all, mustStore(t, s, i, p))
		}
		for i, m := range all {
			mustLoad(t, s, m, pictures[i])
		}
		added := func(m *point.Manifest) (n int) {
			for _, a := range m.Artifacts {
				if a.MediaType == point.MediaTypeLayer && !a.Reused {
					n++
				}
			}
			return n
		}
		for i, want := range []int{3, 0, 1, 1, 0} {
			if got := added(all[i]); got != want {
				t.Errorf("point %d added %d layers, want %d", i, got, want)
			}
		}
		size, has := image.SizeOf(all[1])
		if added := all[1].Added(); !has || added >= 1500 || size.Stored <= added || size.Plain < int64(len(base)) {
			t.Errorf("the sizes of the second point are %+v", size)
		}
		layers := 0
		for key := range s.memory.Contents() {
			if path.Dir(key) == sink.LayersName {
				layers++
			}
		}
		if layers != 5 {
			t.Errorf("the sink knows %d layers", layers)
		}
	})
}

// The folder of a point is an image layout over the blobs: every digest and size is true.
func TestImageLayout(t *testing.T) {
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, web)
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	objects := s.Contents()
	if got := strings.TrimSpace(objects[path.Join(dir, "oci-layout")]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	type descriptor struct {
		MediaType, Digest string
		Size              int64
	}
	blob := func(d descriptor) string {
		content, ok := objects[sink.BlobKey(d.Digest)]
		if !ok || digestOf([]byte(content)) != d.Digest || int64(len(content)) != d.Size {
			t.Errorf("blob %+v is not what it should be", d)
		}
		return content
	}
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal([]byte(objects[path.Join(dir, "index.json")]), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %v, %+v", err, index)
	}
	if err := json.Unmarshal([]byte(blob(index.Manifests[0])), &manifest); err != nil || len(manifest.Layers) != len(web.layers) {
		t.Fatalf("the manifest: %v, %+v", err, manifest)
	}
	if blob(manifest.Config) != string(web.config) {
		t.Error("the configuration is another one")
	}
	for _, l := range manifest.Layers {
		blob(l)
	}
}

// A layer that the sink does not have, and that is as large as one that it has, is told, and
// read once more, unless both are small.
func TestMistaken(t *testing.T) {
	for size, want := range map[int]error{1<<20 - 1: nil, 1 << 20: image.ErrMistaken} {
		s := sinktest.NewMemory()
		layer := strings.Repeat("a", size)
		mustStore(t, s, 1, newPicture(layer))
		p := newPicture(strings.Repeat("b", size), layer)
		if _, err := store(t.Context(), s, "web-1", idOf(2), p); !errors.Is(err, want) {
			t.Errorf("of %d bytes: the error is %v", size, err)
		}
	}
}

// An archive without digests may have its layers in any order: each that the sink has is left
// out, and the others are stored.
func TestLayersInAnyOrder(t *testing.T) {
	s := sinktest.NewMemory()
	for n, p := range []picture{web, newPicture("one more", base, "the web server"), web} {
		staging, err := s.Stage(t.Context(), point.Dir("host", events.ItemContainer, "web", idOf(n)), "1")
		if err != nil {
			t.Fatal(err)
		}
		w := &image.Writer{Sink: s, Staging: staging}
		if err := w.Begin(t.Context(), p.diffIDs); err != nil {
			t.Fatal(err)
		}
		missing := len(w.Missing())
		before := len(s.Contents())
		for i, content := range slices.Backward(p.layers) {
			l, err := w.Next("", int64(len(content)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := l.End(p.diffIDs[i]); err != nil {
				t.Fatal(err)
			}
		}
		const each = 2 // the blob and its entry
		if added := len(s.Contents()) - before; added != each*missing {
			t.Errorf("%d objects were added for %d layers", added, missing)
		}
		if _, err := w.Finish(&archive.Info{ConfigDigest: digestOf(p.config), Config: p.config, DiffIDs: p.diffIDs}); err != nil {
			t.Error(err)
		}
	}
}

// The points that refer to a blob are named, the newest first, and no more than a few.
func TestUsersOf(t *testing.T) {
	s := sinktest.NewMemory()
	var all []*point.Manifest
	for n := range 12 {
		all = append(all, mustStore(t, s, n, web))
	}
	unread := mustStore(t, s, 12, web)
	s.Corrupt(path.Join(point.Dir(unread.Host, unread.Item.Kind, unread.Item.Name, unread.ID), sink.ManifestName), func([]byte) []byte { return []byte("{") })
	mustStore(t, s, 13, newPicture("of none"))
	looked := 0
	got, err := blob.UsersOf(t.Context(), s, all[0].Artifacts[0].Digest, func() { looked++ })
	if err != nil || len(got.Points) != 10 || got.Points[9].ID != all[2].ID || got.More != 2 || got.Unread != 1 || looked != 14 {
		t.Errorf("%d were looked at, and found is %+v, %v", looked, got, err)
	}
	want := all[11].ID + " of container web-1, " + all[10].ID
	if text := got.String(); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, all[2].ID+" of container web-1 and 2 more; and perhaps 1 points whose manifests cannot be read") {
		t.Errorf("it says %q", text)
	}
	broken := errors.New("broken")
	s.Fail(t, sinktest.OpOpen, 3, broken)
	if _, err := blob.UsersOf(t.Context(), s, all[0].Artifacts[0].Digest, func() {}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

// A point without one of its blobs is removed before it is reported; what else fails leaves it
// to whoever looks next.
func TestSettle(t *testing.T) {
	broken := errors.New("broken")
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, web)
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	there := func(want bool) {
		t.Helper()
		if _, err := point.Read(t.Context(), s, dir); errors.Is(err, sink.ErrNotFound) == want {
			t.Errorf("the point: %v", err)
		}
	}
	s.Fail(t, sinktest.OpStat, 1, broken)
	if err := blob.Settle(t.Context(), s, dir, m); !errors.Is(err, broken) || errors.Is(err, blob.ErrRemoved) {
		t.Errorf("the error is %v", err)
	}
	there(true)
	if err := s.RemoveShared(t.Context(), m.Artifacts[1].Key); err != nil {
		t.Fatal(err)
	}
	s.Fail(t, sinktest.OpRemove, 1, broken)
	if err := blob.Settle(t.Context(), s, dir, m); !errors.Is(err, broken) || errors.Is(err, blob.ErrRemoved) {
		t.Errorf("the error is %v", err)
	}
	there(true)
	if err := blob.Settle(t.Context(), s, dir, m); !errors.Is(err, blob.ErrRemoved) || !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("the error is %v", err)
	}
	there(false)
}

// Whatever fails while a point is stored, nothing of it counts, and the next attempt
// succeeds.
func TestFaults(t *testing.T) {
	broken := errors.New("broken by plan")
	for _, op := range []sinktest.Op{sinktest.OpStage, sinktest.OpCreateBlob, sinktest.OpCommitBlob, sinktest.OpPutShared, sinktest.OpStat,
		sinktest.OpOpen, sinktest.OpWrite, sinktest.OpCreate, sinktest.OpCommit, sinktest.OpPublish} {
		for n := 1; n <= 2; n++ {
			s := sinktest.NewMemory()
			mustStore(t, s, 1, newPicture(base))
			if op == sinktest.OpStage && n > 1 || op == sinktest.OpPublish && n > 1 {
				continue
			}
			s.Fail(t, op, n, broken)
			if _, err := store(t.Context(), s, "web-1", idOf(2), web); !errors.Is(err, broken) {
				t.Errorf("%s %d: the error is %v", op, n, err)
			}
			mustLoad(t, s, mustStore(t, s, 2, web), web)
		}
	}
}
