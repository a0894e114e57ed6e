package enginetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

func (s *suite) runRegistry(t *testing.T) {
	t.Run("Push", s.push)
	t.Run("PushAgain", s.pushAgain)
	t.Run("PushTogether", s.pushTogether)
	t.Run("PushIsRefused", s.pushIsRefused)
	t.Run("PushEndsWithItsContext", s.pushEnds)
	t.Run("PushEndsWithItsSession", s.pushIsClosed)
	t.Run("PushOfNothing", s.pushOfNothing)
	t.Run("Pull", s.pull)
	t.Run("PullFails", s.pullFails)
	t.Run("PullEndsWithItsContext", s.pullEnds)
	t.Run("LookUp", s.lookUp)
}

// shelf is where the tests' registry puts what is pushed, in memory.
type shelf struct {
	mu        sync.Mutex
	blobs     map[string][]byte
	asked     []string // digests
	sent      []string // digests
	manifests []registry.Manifest
	open      int // blobs that are not ended

	// What it does at each step; nil for nothing more. In ctx the step's time is bounded.
	onKnown, onBegin, onWrite, onCommit, onManifest func(ctx context.Context) error
}

func at(ctx context.Context, step func(ctx context.Context) error) error {
	if step == nil {
		return nil
	}
	return step(ctx)
}

// Known implements [registry.Receiver].
func (s *shelf) Known(ctx context.Context, digest string) (int64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, digest)
	blob, known := s.blobs[digest]
	return int64(len(blob)), known, at(ctx, s.onKnown)
}

// Begin implements [registry.Receiver].
func (s *shelf) Begin(ctx context.Context) (registry.Blob, error) {
	if err := at(ctx, s.onBegin); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &shelved{shelf: s, ctx: ctx}, nil
}

// Manifest implements [registry.Receiver].
func (s *shelf) Manifest(ctx context.Context, m registry.Manifest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifests = append(s.manifests, m)
	return at(ctx, s.onManifest)
}

// forget has the shelf tell only of what comes from now on.
func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.sent, s.manifests = nil, nil, nil
}

// shelved is a blob on its way to the shelf.
type shelved struct {
	shelf *shelf
	ctx   context.Context //nolint:containedctx // of its session
	bytes.Buffer
}

// Write implements [registry.Blob].
func (b *shelved) Write(p []byte) (int, error) {
	if err := at(b.ctx, b.shelf.onWrite); err != nil {
		return 0, err
	}
	return b.Buffer.Write(p)
}

// Commit implements [registry.Blob].
func (b *shelved) Commit(ctx context.Context, name string, size int64) error {
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	b.shelf.open--
	if err := at(ctx, b.shelf.onCommit); err != nil {
		return err
	}
	if digest(b.Bytes()) != name || int64(b.Len()) != size {
		return fmt.Errorf("%s of %d bytes is called %s of %d bytes", digest(b.Bytes()), b.Len(), name, size)
	}
	b.shelf.blobs[name] = b.Bytes()
	b.shelf.sent = append(b.shelf.sent, name)
	return nil
}

// Abort implements [registry.Blob].
func (b *shelved) Abort() {
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	b.shelf.open--
}

var pushAuth = engine.Credentials{User: "holdfast", Password: "the tests' own"}

// registry is a registry that ends with the test.
func (t *test) registry() *registry.Server {
	t.Helper()
	server, err := registry.Listen(registry.Options{Credentials: pushAuth, Log: zaptest.NewLogger(t)})
	t.must(err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// push commits the container and pushes what that makes. All that it makes on the
// Engine is gone when it returns.
func (t *test) push(server *registry.Server, s *shelf, id string) error {
	t.Helper()
	session := server.Open(t.name("tag"), s)
	defer session.Close()
	return t.pushTo(session, s, id, pushAuth)
}

func (t *test) pushTo(session *registry.Session, s *shelf, id string, auth engine.Credentials) error {
	t.Helper()
	imageID, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: session.Reference(), Pause: true})
	t.must(err)
	err = t.Bench.Push(t.ctx, session.Reference(), auth, func() {})
	t.must(t.Bench.RemoveImage(t.ctx, session.Reference()))
	t.wantNoImage(session.Reference())
	t.wantNoImage(imageID)
	session.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != 0 {
		t.Errorf("%d blobs are not ended", s.open)
	}
	return err
}

// pushed is the image that a push has left on a shelf.
type pushed struct {
	Config descriptor
	Layers []descriptor
	diffs  []string
}

// image returns the image that was pushed last, having held it against itself.
func (t *test) image(s *shelf) *pushed {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.manifests) != 1 || s.manifests[0].Tag == "" || digest(s.manifests[0].Raw) != s.manifests[0].Digest {
		t.Fatalf("the manifests are %+v, want one with a tag and its digest", s.manifests)
	}
	var p pushed
	var config config
	t.must(json.Unmarshal(s.manifests[0].Raw, &p))
	t.must(json.Unmarshal(s.blobs[p.Config.Digest], &config))
	p.diffs = config.RootFS.DiffIDs
	if len(p.Layers) != len(p.diffs) {
		t.Fatalf("the manifest has %d layers, and the configuration %d", len(p.Layers), len(p.diffs))
	}
	for i, l := range p.Layers {
		if l.Size != int64(len(s.blobs[l.Digest])) {
			t.Errorf("layer %s has %d bytes, and in the manifest %d", l.Digest, len(s.blobs[l.Digest]), l.Size)
		}
		if got := digest(unpacked(t, s.blobs[l.Digest])); got != p.diffs[i] {
			t.Errorf("layer %s is unpacked %s, want %s", l.Digest, got, p.diffs[i])
		}
	}
	return &p
}

// unpacked is a layer as a tar archive.
func unpacked(t *test, layer []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if errors.Is(err, gzip.ErrHeader) {
		return layer
	}
	t.must(err)
	raw, err := io.ReadAll(z)
	t.must(err)
	return raw
}

// An image that nobody knows is sent whole, and what comes is what is in it.
func (s *suite) push(tt *testing.T) {
	t := s.begin(tt)
	server, shelf := t.registry(), &shelf{blobs: map[string][]byte{}}
	id := t.running(Spec{})
	content := strings.Repeat(t.name("content"), 50_000)
	t.Write(t, id, "/written", content)
	t.must(t.push(server, shelf, id))
	p := t.image(shelf)
	last := unpacked(t, shelf.blobs[p.Layers[len(p.Layers)-1].Digest])
	if got := string(fileOf(t, bytes.NewReader(last), "written")); got != content {
		t.Errorf("what was written has %d bytes in the last layer, want %d", len(got), len(content))
	}
	if len(p.Layers) < 2 || len(shelf.sent) != len(p.Layers)+1 {
		t.Errorf("%d layers are sent in %d blobs, want at least 2, and the configuration", len(p.Layers), len(shelf.sent))
	}
}

// What the registry has is not sent again, and what was not changed has the same
// digest.
func (s *suite) pushAgain(tt *testing.T) {
	t := s.begin(tt)
	server, shelf := t.registry(), &shelf{blobs: map[string][]byte{}}
	id := t.running(Spec{})
	t.Write(t, id, "/written", "first")
	t.must(t.push(server, shelf, id))
	first := t.image(shelf)

	shelf.forget()
	t.must(t.push(server, shelf, id))
	same := t.image(shelf)
	if !slices.Equal(same.Layers, first.Layers) || !slices.Equal(same.diffs, first.diffs) {
		t.Errorf("an unchanged container has the layers %v, want %v", same.Layers, first.Layers)
	}
	for _, d := range shelf.sent {
		if d != same.Config.Digest {
			t.Errorf("of an unchanged container %s is sent, and not only its configuration", d)
		}
	}
	for _, l := range same.Layers {
		if !slices.Contains(shelf.asked, l.Digest) {
			t.Errorf("the registry is not asked for layer %s", l.Digest)
		}
	}

	shelf.forget()
	t.Write(t, id, "/written", "second")
	t.must(t.push(server, shelf, id))
	changed := t.image(shelf)
	base := len(first.Layers) - 1
	if !slices.Equal(changed.Layers[:base], first.Layers[:base]) || changed.diffs[base] == first.diffs[base] {
		t.Errorf("a changed container has the layers %v, want %v and another one", changed.Layers, first.Layers[:base])
	}
	want := []string{changed.Layers[base].Digest, changed.Config.Digest}
	slices.Sort(want)
	if slices.Sort(shelf.sent); !slices.Equal(shelf.sent, want) {
		t.Errorf("of a changed container %v is sent, want the new layer and the configuration, %v", shelf.sent, want)
	}
}

// Two containers of one image are pushed at a time, and each push is whole.
func (s *suite) pushTogether(tt *testing.T) {
	t := s.begin(tt)
	server, ref := t.registry(), t.name("image")+":v1"
	t.MakeImage(t, ref)
	var sessions [2]*registry.Session
	var shelves [2]*shelf
	for i := range sessions {
		shelves[i] = &shelf{blobs: map[string][]byte{}}
		sessions[i] = server.Open(t.name("tag"), shelves[i])
		id := t.running(Spec{Image: ref})
		t.Write(t, id, "/written", t.name("content"))
		_, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: sessions[i].Reference(), Pause: true})
		t.must(err)
	}
	var pushing sync.WaitGroup
	for i := range sessions {
		pushing.Go(func() {
			if err := t.Bench.Push(t.ctx, sessions[i].Reference(), pushAuth, func() {}); err != nil {
				t.Error(err)
			}
		})
	}
	pushing.Wait()
	for _, session := range sessions {
		session.Close()
		t.must(t.Bench.RemoveImage(t.ctx, session.Reference()))
	}
	first, second := t.image(shelves[0]), t.image(shelves[1])
	base := len(first.diffs) - 1
	if !slices.Equal(first.diffs[:base], second.diffs[:base]) || first.diffs[base] == second.diffs[base] {
		t.Errorf("the layers are %v and %v, want them to differ in the last", first.diffs, second.diffs)
	}
}

// A refusal is told at once, in its own words, wherever it comes from.
func (s *suite) pushIsRefused(tt *testing.T) {
	refusal := errors.New("the sink of this test is full")
	refuse := func(context.Context) error { return refusal }
	for name, refuses := range map[string]*shelf{
		"Known": {onKnown: refuse}, "Begin": {onBegin: refuse}, "Write": {onWrite: refuse}, "Commit": {onCommit: refuse},
		"Manifest": {onManifest: refuse}, "Panic": {onCommit: func(context.Context) error { panic("a fault") }},
	} {
		tt.Run(name, func(tt *testing.T) {
			t := s.begin(tt)
			server := t.registry()
			id := t.running(Spec{})
			refuses.blobs = map[string][]byte{}
			session := server.Open(t.name("tag"), refuses)
			began := time.Now()
			err := t.pushTo(session, refuses, id, pushAuth)
			want := refusal.Error()
			if name == "Panic" {
				want = "a fault of Holdfast itself"
			} else if !errors.Is(session.Err(), refusal) {
				t.Errorf("the session has the error %v", session.Err())
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the push reports %v", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the push is refused after %s", took)
			}
			if len(refuses.manifests) > 0 && name != "Manifest" {
				t.Error("a manifest came after all")
			}
		})
	}
	tt.Run("Credentials", func(tt *testing.T) {
		t := s.begin(tt)
		server, shelf := t.registry(), &shelf{blobs: map[string][]byte{}}
		session := server.Open(t.name("tag"), shelf)
		wrong := engine.Credentials{User: pushAuth.User, Password: "wrong"}
		if err := t.pushTo(session, shelf, t.running(Spec{}), wrong); err == nil || strings.Contains(err.Error(), wrong.Password) {
			t.Errorf("with a wrong password the push reports %v", err)
		}
		if len(shelf.asked)+len(shelf.sent)+len(shelf.manifests) > 0 || session.Err() != nil {
			t.Errorf("with a wrong password it is %+v, %v", shelf, session.Err())
		}
	})
}

// waits is a shelf that takes nothing until its session ends, and tells when something
// has come.
func waits() (s *shelf, came <-chan struct{}) {
	c := make(chan struct{})
	var once sync.Once
	return &shelf{blobs: map[string][]byte{}, onWrite: func(ctx context.Context) error {
		once.Do(func() { close(c) })
		<-ctx.Done()
		return context.Cause(ctx)
	}}, c
}

func (s *suite) pushEnds(tt *testing.T) {
	t := s.begin(tt)
	server := t.registry()
	shelf, came := waits()
	session := server.Open(t.name("tag"), shelf)
	id := t.running(Spec{})
	cause := errors.New("enough")
	whole := t.ctx
	ctx, cancel := context.WithCancelCause(whole)
	_, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: session.Reference(), Pause: true})
	t.must(err)
	go func() {
		<-came
		cancel(cause)
	}()
	if err := t.Bench.Push(ctx, session.Reference(), pushAuth, func() {}); !errors.Is(err, cause) {
		t.Errorf("a push whose context has ended reports %v, want its cause", err)
	}
	session.Close()
	if shelf.open != 0 || session.Err() != nil {
		t.Errorf("%d blobs are not ended; the session has the error %v", shelf.open, session.Err())
	}
	t.must(t.Bench.RemoveImage(t.ctx, session.Reference()))
	t.wantNoImage(session.Reference())
}

func (s *suite) pushIsClosed(tt *testing.T) {
	t := s.begin(tt)
	server := t.registry()
	shelf, came := waits()
	session := server.Open(t.name("tag"), shelf)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-came
		session.Close()
	}()
	began := time.Now()
	if err := t.pushTo(session, shelf, t.running(Spec{}), pushAuth); err == nil || time.Since(began) > patience/2 {
		t.Errorf("a push whose session was closed reports %v, after %s", err, time.Since(began))
	}
	<-closed
}

func (s *suite) pushOfNothing(tt *testing.T) {
	t := s.begin(tt)
	session := t.registry().Open(t.name("tag"), &shelf{})
	t.wantNotFound(t.Bench.Push(t.ctx, session.Reference(), pushAuth, func() {}))

	nobody := fmt.Sprintf("127.0.0.1:1/%s:v1", t.name("image"))
	t.MakeImage(t, nobody)
	t.wantOther("a push to nobody", t.Bench.Push(t.ctx, nobody, pushAuth, func() {}))
}

func (s *suite) lookUp(tt *testing.T) {
	t := s.begin(tt)
	server := t.registry()
	t.must(server.Reached(t.ctx, t.Bench.LookUp))
	session := server.Open(t.name("tag"), &shelf{})
	t.wantNotFound(t.Bench.LookUp(t.ctx, session.Reference(), pushAuth))
	wrong := engine.Credentials{User: pushAuth.User, Password: "wrong"}
	t.wantOther("with a wrong password", t.Bench.LookUp(t.ctx, session.Reference(), wrong))
	t.wantOther("to ask nobody", t.Bench.LookUp(t.ctx, "127.0.0.1:1/none:v1", pushAuth))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.ctx)
	cancel(cause)
	if err := t.Bench.LookUp(ctx, session.Reference(), pushAuth); !errors.Is(err, cause) {
		t.Errorf("with a context that has ended it reports %v, want its cause", err)
	}
}

// wantOther wants an error of a registry, which is none of the Engine's.
func (t *test) wantOther(what string, err error) {
	t.Helper()
	for _, not := range []error{nil, engine.ErrNotFound, engine.ErrRefused, engine.ErrEngineUnavailable} {
		if errors.Is(err, not) {
			t.Errorf("%s reports %v", what, err)
		}
	}
}
