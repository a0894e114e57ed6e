package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/limit"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
	"holdfast.io/holdfast/internal/sink/quota"
	"holdfast.io/holdfast/internal/transport"
)

// front stands before a registry, and tells the Engine's requests from the worker's.
type front struct {
	*ocitest.Server
	sink sink.Sink

	mu     sync.Mutex
	sent   int64                                             // bytes of the worker's
	refuse func(r *http.Request, ofEngine bool) (status int) // 0 to let it through
}

func (f *front) treat(refuse func(r *http.Request, ofEngine bool) int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *front) snapshots(t *testing.T) (n int) {
	t.Helper()
	tags, err := os.ReadDir(filepath.Join(f.Repository("backups/web"), "_manifests/tags"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		if strings.HasPrefix(tag.Name(), sink.SnapshotTag) {
			n++
		}
	}
	return n
}

// directBench is a bench whose sink lies in a registry that the Engine reaches.
func directBench(t *testing.T) (b *bench, f *front, id string) {
	b, id = pushBench(t)
	b.runner.Direct = &transport.Direct{Engine: b.engine}
	f = &front{Server: ocitest.Start(t, ocitest.Options{})}
	behind, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ofEngine := r.UserAgent() != "holdfast"
		f.mu.Lock()
		refuse := f.refuse
		if !ofEngine {
			f.sent += r.ContentLength
		}
		f.mu.Unlock()
		if refuse != nil {
			if status := refuse(r, ofEngine); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	store, err := oci.New(oci.Options{Registry: address, Repository: "backups/web", Endpoint: server.URL})
	if err == nil {
		f.sink, err = object.Open(t.Context(), store, "", "layers")
	}
	if err != nil {
		t.Fatal(err)
	}
	b.sweeper.Sinks = sinks{"default": f.sink}
	return b, f, id
}

// large is more than the documents of a point have, in bytes.
const large = 1 << 20

// write writes something large into a container.
func (b *bench) write(id string, seed byte) {
	b.change(id, seed)
	b.engine.Write(id, "large", []byte(strings.Repeat(string(rune('a'+seed)), large)))
}

func (b *bench) direct(f *front, id, pointID string, want events.Transport) *point.Manifest {
	b.Helper()
	result, err := b.run(b.Context(), b.pushTask(id, pointID, f.sink))
	if err != nil {
		b.Fatal(err)
	}
	b.settle()
	if img := result.Manifest.Image; img.Transport != want {
		b.Errorf("the transport is %s, as %q, want %s", img.Transport, img.TransportReason, want)
	}
	if n := f.snapshots(b.T); n > 0 {
		b.Errorf("%d snapshots are left in the registry", n)
	}
	b.wantAsItWas(id, events.StateRunning)
	return result.Manifest
}

// holds reads the image of a point, and proves it.
func (b *bench) holds(f *front, m *point.Manifest) {
	b.Helper()
	config := m.Artifact(point.MediaTypeImageConfig)
	if config == nil || config.Digest != m.Image.ConfigDigest {
		b.Fatalf("the point has the configuration %v, want %s", config, m.Image.ConfigDigest)
	}
	layers, err := image.Source{Manifest: m, Open: f.sink.Open}.Assigned(b.Context())
	if err != nil || len(layers) != m.Image.Layers {
		b.Fatalf("the point has %d layers and reports %v, want %d", len(layers), err, m.Image.Layers)
	}
	for diffID, a := range layers {
		var plain io.ReadCloser
		stored, err := f.sink.Open(b.Context(), a.Key)
		if err == nil {
			plain, err = point.Plain(stored, a, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
		sum := sha256.New()
		n, err := io.Copy(sum, plain)
		if err := errors.Join(err, plain.Close()); err != nil || codec.Digest(sum) != diffID || n != a.UncompressedSize {
			b.Errorf("layer %s has %d bytes and reports %v, want %d", diffID, n, err, a.UncompressedSize)
		}
	}
}

// What the Engine pushes to the registry of a sink is a point, of which the worker has sent the
// descriptions alone; and the registry's own garbage collection leaves it whole.
func TestDirect(t *testing.T) {
	for name, streams := range map[string]bool{"classic store": false, "containerd store": true} {
		t.Run(name, func(t *testing.T) {
			b, f, id := directBench(t)
			if streams {
				b.engine.SetStreams()
			}
			var all []*point.Manifest
			for i, pointID := range []string{"20260102T150405Z-00000001", "20260102T150405Z-00000002", "20260102T150405Z-00000003"} {
				if i < 2 {
					b.write(id, byte(i))
				}
				f.sent = 0
				m := b.direct(f, id, pointID, events.TransportDirect)
				if f.sent > 64<<10 {
					t.Errorf("the worker has sent %d bytes", f.sent)
				}
				if m.FormatVersion != point.PushedVersion {
					t.Errorf("the point is of format %d", m.FormatVersion)
				}
				all = append(all, m)
			}
			if b.engine.Calls(enginetest.Save) != 0 {
				t.Error("an image was saved")
			}
			if err := f.Collect(); err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				b.holds(f, m)
			}
			if added := all[2].Added(); added > 64<<10 {
				t.Errorf("%d bytes were added for an unchanged container", added)
			}
		})
	}
}

// Layers that the worker has stored are left to the points that have them: what the Engine has pushed
// is what the next points have, however they come.
func TestDirectAfterOthers(t *testing.T) {
	b, f, id := directBench(t)
	b.write(id, 1)
	direct := b.runner.Direct
	b.runner.Direct = nil
	first := b.direct(f, id, "20260102T150405Z-00000001", events.TransportSave)
	b.runner.Direct = direct
	second := b.direct(f, id, "20260102T150405Z-00000002", events.TransportDirect)
	b.runner.Direct = nil
	third := b.direct(f, id, "20260102T150405Z-00000003", events.TransportPush)
	if added := third.Added(); added > 64<<10 || third.FormatVersion != point.PushedVersion {
		t.Errorf("%d bytes were added by a worker to what an Engine has pushed, format %d", added, third.FormatVersion)
	}
	for _, m := range []*point.Manifest{first, second, third} {
		b.holds(f, m)
	}
}

// Whatever keeps the Engine from pushing to a registry, the point comes in another way, and nothing
// is left.
func TestDirectFails(t *testing.T) {
	upload := func(status int) func(r *http.Request, ofEngine bool) int {
		return func(r *http.Request, ofEngine bool) int {
			if ofEngine && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				return status
			}
			return 0
		}
	}
	for name, c := range map[string]struct {
		refuse func(r *http.Request, ofEngine bool) int
		fault  enginetest.Fault
		asked  bool // beforehand
	}{
		"the registry does not know the Engine": {refuse: func(_ *http.Request, ofEngine bool) int {
			if ofEngine {
				return http.StatusUnauthorized
			}
			return 0
		}, asked: true},
		"another registry answers the Engine": {refuse: func(r *http.Request, ofEngine bool) int {
			if ofEngine && strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return http.StatusNotFound
			}
			return 0
		}, asked: true},
		"the Engine does not reach it":   {fault: enginetest.Fault{Op: enginetest.LookUp, Err: errors.New("no route to host")}, asked: true},
		"the registry lets it only read": {refuse: upload(http.StatusForbidden)},
		"the registry is full":           {refuse: upload(http.StatusInsufficientStorage)},
		"the push fails":                 {fault: enginetest.Fault{Op: enginetest.Push, Err: errors.New("push the image: connection reset by peer")}},
		"what it pushed does not come": {refuse: func(r *http.Request, ofEngine bool) int {
			if ofEngine && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				return http.StatusCreated
			}
			return 0
		}},
		"a layer of it does not come": {refuse: func(r *http.Request, ofEngine bool) int {
			if !ofEngine && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
				return http.StatusNotFound
			}
			return 0
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b, f, id := directBench(t)
			b.write(id, 1)
			if c.fault.Op != "" {
				b.engine.Plan(c.fault)
			}
			f.treat(c.refuse)
			m := b.direct(f, id, "20260102T150405Z-00000001", events.TransportSave)
			if !c.asked && b.engine.Calls(enginetest.Push) == 0 {
				t.Error("the Engine was not told to push")
			}
			if c.asked && !strings.Contains(m.Image.TransportReason, transport.ErrNotDirect.Error()) {
				t.Errorf("the reason is %q", m.Image.TransportReason)
			}
			f.treat(nil)
			b.holds(f, m)
		})
	}
}

// A push that failed is not tried again at once.
func TestDirectIsNotTriedAgain(t *testing.T) {
	b, f, id := directBench(t)
	b.write(id, 1)
	b.engine.Plan(enginetest.Fault{Op: enginetest.Push, Err: errors.New("push the image: denied")})
	b.direct(f, id, "20260102T150405Z-00000001", events.TransportSave)
	m := b.direct(f, id, "20260102T150405Z-00000002", events.TransportPush)
	if !strings.Contains(m.Image.TransportReason, "denied") {
		t.Errorf("the reason is %q", m.Image.TransportReason)
	}
}

// An item that is cancelled while the Engine pushes ends so, and leaves nothing.
func TestDirectIsCancelled(t *testing.T) {
	b, f, id := directBench(t)
	b.write(id, 1)
	ctx, cancel := context.WithCancel(t.Context())
	b.engine.Plan(enginetest.Fault{Op: enginetest.Push, Hang: true, During: func() { time.AfterFunc(50*time.Millisecond, cancel) }})
	_, err := b.run(ctx, b.pushTask(id, "20260102T150405Z-00000001", f.sink))
	b.wantError(err, events.StepSave, events.CodeCancelled, true)
	b.settle()
	if n := f.snapshots(t); n > 0 {
		t.Errorf("%d snapshots are left in the registry", n)
	}
	b.wantNothingLeft(id, events.StateRunning)
}

// Where bytes have to pass through a sink, none goes past it: those of one that has a quota, or a
// limit, or that encrypts. Nor where a snapshot could be taken for an image of a user.
func TestDirectOnlyPastNobody(t *testing.T) {
	for name, wrap := range map[string]func(s sink.Sink) sink.Sink{
		"quota": func(s sink.Sink) sink.Sink { return quota.New(s, 1<<30, "there") },
		"limit": func(s sink.Sink) sink.Sink { return limit.New(s, limit.Options{Rate: 1 << 30}) },
		"recipients": func(s sink.Sink) sink.Sink {
			return &seal.Sealed{Sink: s, Seal: sealOf(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, f, id := directBench(t)
			b.write(id, 1)
			task := b.pushTask(id, "20260102T150405Z-00000001", f.sink)
			task.Legs = legs(wrap(&layered.Sink{Sink: f.sink}))
			if _, err := b.run(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			if b.engine.Calls(enginetest.Save) != 1 {
				t.Error("the image was not saved")
			}
			for o, err := range f.sink.Shared(t.Context(), sink.BlobsName) {
				if err != nil {
					t.Fatal(err)
				}
				stored, err := f.sink.Open(t.Context(), o.Key)
				if err != nil {
					t.Fatal(err)
				}
				begin := make([]byte, 2)
				_, err = io.ReadFull(stored, begin)
				if err := errors.Join(err, stored.Close()); err != nil || bytes.Equal(begin, []byte{0x1f, 0x8b}) {
					t.Errorf("%s begins with %x, %v", o.Key, begin, err)
				}
			}
		})
	}
}

// sealOf encrypts, and knows the names of layers.
func sealOf(t *testing.T) *seal.Seal {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	names := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(names, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Options{Recipients: []string{identity.Recipient().String()}, NameKeyFile: names})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The name that a snapshot is pushed by is known as that of a snapshot.
func TestDirectReference(t *testing.T) {
	_, f, _ := directBench(t)
	in, ok := sink.RepositoryOf(f.sink)
	if !ok {
		t.Fatal("the sink lies in no repository")
	}
	ref := in.Reference(sink.PointDir("host", "container", "web", pointID), "12")
	if !engine.IsTemporary(ref) {
		t.Errorf("%s is not known as temporary", ref)
	}
	for _, users := range []string{"registry.example/backups/web:" + pointID, "registry.example/backups/web:holdfast-snapshot-mine", "web:v1"} {
		if engine.IsTemporary(users) {
			t.Errorf("%s is taken for a snapshot", users)
		}
	}
}
