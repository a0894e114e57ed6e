package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
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
func store(ctx context.Context, in sink.Sink, name, id string, p picture, likely []string) (m *point.Manifest, err error) {
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
		err = image.Settle(ctx, in, dir, there)
	}
	if !errors.Is(err, sink.ErrNotFound) && !errors.Is(err, image.ErrRemoved) {
		return there, err
	}
	staging, err := in.Stage(ctx, dir, "1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, staging.Discard(context.WithoutCancel(ctx))) }()
	w := &image.Writer{Sink: in, Staging: staging, Compression: codec.Compression{}}
	if err := w.Begin(ctx, likely); err != nil {
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
	if err := point.Publish(ctx, in, staging, m); err != nil {
		return nil, err
	}
	if err := image.Settle(ctx, in, dir, m); err != nil {
		return nil, err
	}
	return m, nil
}

func idOf(n int) string { return fmt.Sprintf("20260302T1415%02dZ-%08x", n%60, n) }

func mustStore(t *testing.T, in sink.Sink, n int, p picture) *point.Manifest {
	t.Helper()
	m, err := store(t.Context(), in, "web-1", idOf(n), p, p.diffIDs)
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
	r, err := image.Source{Manifest: read, Open: from.Open}.Archive(t.Context(), "repo:tag")
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
	s := sinktest.NewMemory()
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
	if added := all[1].Added(); !has || added >= 1000 || size.Stored <= added || size.Plain < int64(len(base)) {
		t.Errorf("the sizes of the second point are %+v", size)
	}
	layers := 0
	for key := range s.Contents() {
		if path.Dir(key) == sink.LayersName {
			layers++
		}
	}
	if layers != 5 {
		t.Errorf("the sink knows %d layers", layers)
	}
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

// A layer that comes where another one was left out is told, and read once more.
func TestReordered(t *testing.T) {
	s := sinktest.NewMemory()
	mustStore(t, s, 1, newPicture(base))
	p := newPicture("first", base)
	wrong := []string{p.diffIDs[1], p.diffIDs[0]}
	if _, err := store(t.Context(), s, "web-1", idOf(2), p, wrong); !errors.Is(err, image.ErrReordered) {
		t.Errorf("the error is %v", err)
	}
}

// What of a layer is damaged, or gone, is stored anew by the next point that has it: then
// all points have it again.
func TestHealing(t *testing.T) {
	for name, harm := range map[string]func(m *sinktest.Memory, of *point.Manifest) error{
		"the blob is gone": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.RemoveShared(context.Background(), of.Artifacts[0].Key)
		},
		"the blob is cut short": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt(of.Artifacts[0].Key, func(b []byte) []byte { return b[:len(b)-1] })
			return nil
		},
		"the entry is gone": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.RemoveShared(context.Background(), "layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json")
		},
		"the entry is damaged": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.PutShared(context.Background(), "layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json", []byte("{"))
		},
		"a bit of the entry has flipped, in what cannot be proven without reading the layer": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt("layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json", func(b []byte) []byte {
				return bytes.Replace(b, fmt.Appendf(nil, `"uncompressedSize": %d`, len(base)), fmt.Appendf(nil, `"uncompressedSize": %d`, len(base)^1), 1)
			})
			return nil
		},
		"a bit of the blob has flipped, and its entry was removed by who saw that": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt(of.Artifacts[0].Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			_, err := image.Forget(context.Background(), m, &of.Artifacts[0])
			return err
		},
	} {
		s := sinktest.NewMemory()
		first := mustStore(t, s, 1, web)
		if err := harm(s, first); err != nil {
			t.Fatal(err)
		}
		mustStore(t, s, 2, changed)
		t.Log(name)
		mustLoad(t, s, first, web)
	}
}

// A bit that flips in what describes an image is mended by the next point of that image.
func TestHealingOfDocuments(t *testing.T) {
	for _, mediaType := range []string{point.MediaTypeImageConfig, point.MediaTypeImageManifest} {
		s := sinktest.NewMemory()
		first := mustStore(t, s, 1, web)
		s.Corrupt(first.Artifact(mediaType).Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		mustStore(t, s, 2, web)
		for _, a := range first.Artifacts {
			if point.IsShared(&a) && digestOf([]byte(s.Contents()[a.Key])) != a.Digest {
				t.Errorf("%s is not mended: it is a %s", a.Key, a.MediaType)
			}
		}
	}
}

// flip flips a bit of a blob, and has that seen.
func flip(t *testing.T, s *sinktest.Memory, a *events.Artifact) {
	t.Helper()
	s.Corrupt(a.Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	if instead, err := image.Forget(t.Context(), s, a); instead != "" || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
}

// A blob that is known to be damaged is not relied on, by who stores a layer and by who
// copies one, until it is stored anew; and who may not remove anything can say so.
func TestForget(t *testing.T) {
	s := sinktest.NewMemory()
	layer := mustStore(t, s, 1, web).Artifacts[0]
	found := func(want bool) {
		t.Helper()
		if adopted, err := image.Adopt(t.Context(), s, &layer); adopted != want || err != nil {
			t.Errorf("adopted is %t, %v", adopted, err)
		}
		if _, found, err := image.Find(t.Context(), s, layer.Name); found != want || err != nil {
			t.Errorf("found is %t, %v", found, err)
		}
	}
	found(true)
	s.FailMaybe(sinktest.OpRemove, 1, sink.ErrMayNotRemove)
	flip(t, s, &layer)
	found(false)
	if instead, err := image.Forget(t.Context(), s, &layer); instead != "" || err != nil { // another point has it too
		t.Errorf("instead is %q, %v", instead, err)
	}
	mustStore(t, s, 2, changed)
	found(true)
}

// Where the layer comes out as another blob, the damaged one stays as it is, and that is said;
// and seeing it again costs nobody the blob that is good.
func TestHealingByAnotherBlob(t *testing.T) {
	s := sinktest.NewMemory()
	first := mustStore(t, s, 1, web)
	flip(t, s, &first.Artifacts[0])
	other := first.Artifacts[0]
	other.Digest = digestOf([]byte("compressed in another way"))
	if err := image.Enter(t.Context(), s, &other); err != nil {
		t.Fatal(err)
	}
	entry := s.Contents()["layers/"+strings.TrimPrefix(other.Name, "sha256:")+".json"]
	if instead, err := image.Forget(t.Context(), s, &first.Artifacts[0]); instead != other.Digest || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
	if is := s.Contents()["layers/"+strings.TrimPrefix(other.Name, "sha256:")+".json"]; is != entry {
		t.Errorf("the entry is %s", is)
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
	got, err := image.UsersOf(t.Context(), s, all[0].Artifacts[0].Digest, func() { looked++ })
	if err != nil || len(got.Points) != 10 || got.Points[9].ID != all[2].ID || got.More != 2 || got.Unread != 1 || looked != 14 {
		t.Errorf("%d were looked at, and found is %+v, %v", looked, got, err)
	}
	want := all[11].ID + " of container web-1, " + all[10].ID
	if text := got.String(); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, all[2].ID+" of container web-1 and 2 more; and perhaps 1 points whose manifests cannot be read") {
		t.Errorf("it says %q", text)
	}
	broken := errors.New("broken")
	s.Fail(t, sinktest.OpOpen, 3, broken)
	if _, err := image.UsersOf(t.Context(), s, all[0].Artifacts[0].Digest, func() {}); !errors.Is(err, broken) {
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
	if err := image.Settle(t.Context(), s, dir, m); !errors.Is(err, broken) || errors.Is(err, image.ErrRemoved) {
		t.Errorf("the error is %v", err)
	}
	there(true)
	if err := s.RemoveShared(t.Context(), m.Artifacts[1].Key); err != nil {
		t.Fatal(err)
	}
	s.Fail(t, sinktest.OpRemove, 1, broken)
	if err := image.Settle(t.Context(), s, dir, m); !errors.Is(err, broken) || errors.Is(err, image.ErrRemoved) {
		t.Errorf("the error is %v", err)
	}
	there(true)
	if err := image.Settle(t.Context(), s, dir, m); !errors.Is(err, image.ErrRemoved) || !errors.Is(err, sink.ErrUnavailable) {
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
			if _, err := store(t.Context(), s, "web-1", idOf(2), web, web.diffIDs); !errors.Is(err, broken) {
				t.Errorf("%s %d: the error is %v", op, n, err)
			}
			mustLoad(t, s, mustStore(t, s, 2, web), web)
		}
	}
}

var asked = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func collect(t *testing.T, s sink.Sink, at time.Duration, want image.Collected) {
	t.Helper()
	got, err := image.Collect(t.Context(), s, asked.Add(at), time.Hour)
	if want.Blobs > 0 {
		want.Bytes = got.Bytes
	}
	if err != nil || got != want || (got.Bytes > 0) != (got.Blobs > 0) {
		t.Errorf("after %s it collected %+v, %v, want %+v", at, got, err, want)
	}
}

// Blobs that no point refers to go after the grace, and only those; what is needed again
// meanwhile stays.
func TestCollect(t *testing.T) {
	s := sinktest.NewMemory()
	collect(t, s, 0, image.Collected{})
	first, second := mustStore(t, s, 1, web), mustStore(t, s, 2, changed)
	collect(t, s, 0, image.Collected{})
	remove := func(m *point.Manifest) {
		if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
			t.Fatal(err)
		}
	}
	remove(first) // its own are a layer, the configuration and the manifest
	collect(t, s, 0, image.Collected{Marked: 3})
	collect(t, s, time.Hour-1, image.Collected{Marked: 3})
	third := mustStore(t, s, 3, web) // it is needed again
	collect(t, s, 2*time.Hour, image.Collected{})
	mustLoad(t, s, third, web)
	remove(third)
	collect(t, s, 3*time.Hour, image.Collected{Marked: 3})
	collect(t, s, 4*time.Hour, image.Collected{Blobs: 3})
	mustLoad(t, s, second, changed)
	remove(second)
	collect(t, s, 5*time.Hour, image.Collected{Marked: 5})
	collect(t, s, 6*time.Hour, image.Collected{Blobs: 5})
	if left := s.Contents(); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
}

// Of a point that cannot be read nothing is known, so nothing is removed.
func TestCollectWithADamagedPoint(t *testing.T) {
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, web)
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	before := s.Contents()
	s.Corrupt(path.Join(dir, sink.ManifestName), func([]byte) []byte { return []byte("{") })
	for at := range 3 {
		if _, err := image.Collect(t.Context(), s, asked.Add(time.Duration(at)*24*time.Hour), 0); !errors.Is(err, point.ErrDamaged) {
			t.Errorf("the error is %v", err)
		}
	}
	if len(s.Contents()) != len(before) {
		t.Error("something was removed")
	}
}

// A death at any moment of collecting is taken up by the next run.
func TestCollectInterrupted(t *testing.T) {
	broken := errors.New("killed")
	for _, op := range []sinktest.Op{sinktest.OpPutShared, sinktest.OpRemove, sinktest.OpOpen, sinktest.OpShared, sinktest.OpPoints} {
		for n := 1; n < 12; n++ {
			s := sinktest.NewMemory()
			gone, kept := mustStore(t, s, 1, web), mustStore(t, s, 2, changed)
			if err := s.RemovePoint(t.Context(), point.Dir(gone.Host, gone.Item.Kind, gone.Item.Name, gone.ID)); err != nil {
				t.Fatal(err)
			}
			collect(t, s, 0, image.Collected{Marked: 3})
			s.FailMaybe(op, n, broken)
			_, err := image.Collect(t.Context(), s, asked.Add(2*time.Hour), time.Hour)
			if err == nil {
				break // it makes fewer calls than that
			}
			mustLoad(t, s, kept, changed)
			for at := 2; at < 5; at++ {
				if _, err := image.Collect(t.Context(), s, asked.Add(time.Duration(at)*time.Hour), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			mustLoad(t, s, kept, changed)
			for key := range s.Contents() {
				if path.Dir(key) == sink.GarbageName || path.Dir(key) == sink.BlobsName && !slices.ContainsFunc(kept.Artifacts, func(a events.Artifact) bool { return a.Key == key }) {
					t.Errorf("%s %d: %s is left", op, n, key)
				}
			}
		}
	}
}

// Two hosts store points of the same layers, while another one removes points and collects
// without a grace: every point that was reported stored can be read.
func TestStoreWhileCollecting(t *testing.T) {
	s := sinktest.NewMemory()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	pictures := []picture{newPicture("base", "a"), newPicture("base", "b"), newPicture("a"), newPicture("a", "b")}
	var all sync.WaitGroup
	var mu sync.Mutex
	kept := map[string]*point.Manifest{}
	of := map[string]picture{}
	stored, refused := 0, 0
	for host := range 2 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				p, id := pictures[rand.N(len(pictures))], idOf(host<<20+n)
				m, err := store(t.Context(), s, fmt.Sprintf("c%d", host), id, p, p.diffIDs)
				mu.Lock()
				switch {
				case err == nil:
					kept[id], of[id] = m, p
					stored++
				case errors.Is(err, image.ErrRemoved):
					refused++
				default:
					t.Errorf("%v", err)
				}
				mu.Unlock()
			}
		})
	}
	all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			mu.Lock()
			for id, m := range kept {
				if rand.N(6) == 0 {
					delete(kept, id)
					if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
						t.Error(err)
					}
				}
			}
			mu.Unlock()
			if _, err := image.Collect(t.Context(), s, asked.Add(time.Duration(n)), 0); err != nil {
				t.Error(err)
			}
			time.Sleep(rand.N(60 * time.Millisecond)) // a blob must not be garbage at every moment
		}
	})
	all.Wait()
	for id, m := range kept {
		mustLoad(t, s, m, of[id])
	}
	t.Logf("%d points were stored, %d of them stand, %d were refused", stored, len(kept), refused)
	if stored == 0 {
		t.Error("no point was stored")
	}
}

// Two hosts store points of the same layers, while bits flip in these and another host sees it,
// now sooner and now later: when it has looked once more, and the layers were stored once more,
// every point can be read.
func TestStoreWhileBitsFlip(t *testing.T) {
	s := sinktest.NewMemory()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	pictures := []picture{newPicture("base", "a"), newPicture("base", "b"), newPicture("a", "b")}
	var all sync.WaitGroup
	var mu sync.Mutex
	of := map[*point.Manifest]picture{}
	for host := range 2 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				p := pictures[rand.N(len(pictures))]
				m, err := store(t.Context(), s, fmt.Sprintf("c%d", host), idOf(host<<20+n), p, p.diffIDs)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				of[m] = p
				mu.Unlock()
				time.Sleep(rand.N(10 * time.Millisecond))
			}
		})
	}
	layers := func() (all []events.Artifact) {
		mu.Lock()
		defer mu.Unlock()
		for m := range of {
			for _, a := range m.Artifacts {
				if a.MediaType == point.MediaTypeLayer && !slices.ContainsFunc(all, func(b events.Artifact) bool { return a.Key == b.Key }) {
					all = append(all, a)
				}
			}
		}
		return all
	}
	look := func() (damaged int) {
		for _, a := range layers() {
			if digestOf([]byte(s.Contents()[a.Key])) == a.Digest {
				continue
			}
			damaged++
			if instead, err := image.Forget(t.Context(), s, &a); instead != "" || err != nil {
				t.Errorf("instead is %q, %v", instead, err)
			}
		}
		return damaged
	}
	flipped, seen := 0, 0
	all.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(rand.N(10 * time.Millisecond)) {
			if known := layers(); len(known) > 0 {
				s.Corrupt(known[rand.N(len(known))].Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
				flipped++
			}
			if rand.N(2) == 0 {
				seen += look()
			}
		}
	})
	all.Wait()
	look()
	for i, p := range pictures {
		if _, err := store(t.Context(), s, "last", idOf(1<<22+i), p, p.diffIDs); err != nil {
			t.Error(err)
		}
	}
	for m, p := range of {
		mustLoad(t, s, m, p)
	}
	t.Logf("%d points were stored; %d times a bit flipped, and %d times that was seen meanwhile", len(of), flipped, seen)
	if seen == 0 {
		t.Error("no damage was seen")
	}
}
