package sinktest

import (
	"context"
	"fmt"
	"path"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// memoryStaging is one attempt. Its members are guarded by the store's mutex.
type memoryStaging struct {
	sink    *Memory
	dir     string // of the point
	name    string // of the attempt
	objects map[string][]byte
	open    int // artifacts and blobs that were neither committed nor aborted
	blobs   int // that were begun
	ended   bool
}

// Stage implements [sink.Stager].
func (m *Memory) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	name, err := sink.AttemptName(dir, attempt)
	if err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, OpStage)
	if err != nil {
		return nil, err
	}
	defer unlock()
	t := &memoryStaging{sink: m, dir: dir, name: name, objects: map[string][]byte{}}
	m.store.staged[name] = t
	return t, nil
}

// Unstage implements [sink.Stager].
func (m *Memory) Unstage(ctx context.Context, dir, attempt string) error {
	name, err := sink.AttemptName(dir, attempt)
	if err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpUnstage)
	if err != nil {
		return err
	}
	defer unlock()
	delete(m.store.staged, name)
	return nil
}

// Create implements [sink.Staging].
func (t *memoryStaging) Create(ctx context.Context, name string, _ int64) (sink.Writer, string, error) {
	if err := sink.CheckArtifact(name); err != nil {
		return nil, "", err
	}
	unlock, err := t.sink.begin(ctx, OpCreate)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	if t.ended {
		return nil, "", errEnded
	}
	if _, taken := t.objects[name]; taken {
		return nil, "", fmt.Errorf("memory: the name %q is taken", name)
	}
	t.objects[name] = nil
	t.open++
	return &memoryArtifact{ctx: ctx, staging: t, name: name}, path.Join(t.dir, name), nil
}

// memoryArtifact is an artifact that is written.
type memoryArtifact struct {
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	staging *memoryStaging
	name    string
	err     error // the first one, which stays
	ended   bool
}

// begin is that of the sink. Its error stays.
func (a *memoryArtifact) begin(op Op) (unlock func(), err error) {
	if a.err != nil {
		return nil, a.err
	}
	if unlock, a.err = a.staging.sink.begin(a.ctx, op); a.err != nil {
		return nil, a.err
	}
	if a.staging.ended { // by Discard
		unlock()
		a.err = errEnded
	}
	return unlock, a.err
}

// Write implements [sink.Writer].
func (a *memoryArtifact) Write(p []byte) (int, error) {
	unlock, err := a.begin(OpWrite)
	if err != nil {
		return 0, err
	}
	defer unlock()
	a.staging.objects[a.name] = append(a.staging.objects[a.name], p...)
	return len(p), nil
}

// Commit implements [sink.Writer].
func (a *memoryArtifact) Commit() error {
	unlock, err := a.begin(OpCommit)
	if err != nil {
		return err
	}
	defer unlock()
	a.end()
	return nil
}

// Abort implements [sink.Writer].
func (a *memoryArtifact) Abort() error {
	s := a.staging.sink.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.ended {
		return nil
	}
	if err := s.fault(OpAbort); err != nil {
		return err
	}
	delete(a.staging.objects, a.name)
	a.end()
	return nil
}

func (a *memoryArtifact) end() {
	a.ended, a.err = true, errEnded
	a.staging.open--
}

// CreateBlob implements [sink.Staging].
func (t *memoryStaging) CreateBlob(ctx context.Context, _ int64) (sink.BlobWriter, error) {
	unlock, err := t.sink.begin(ctx, OpCreateBlob)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t.ended {
		return nil, errEnded
	}
	t.blobs++
	name := fmt.Sprintf(".blob-%d", t.blobs)
	t.objects[name] = nil
	t.open++
	return &memoryBlob{memoryArtifact{ctx: ctx, staging: t, name: name}}, nil
}

// memoryBlob is a blob that is written.
type memoryBlob struct{ artifact memoryArtifact }

// Write implements [sink.BlobWriter].
func (b *memoryBlob) Write(p []byte) (int, error) { return b.artifact.Write(p) }

// Commit implements [sink.BlobWriter].
func (b *memoryBlob) Commit(digest string) error {
	if err := sink.CheckDigest(digest); err != nil {
		return err
	}
	a := &b.artifact
	unlock, err := a.begin(OpCommitBlob)
	if err != nil {
		return err
	}
	defer unlock()
	a.staging.sink.store.objects[sink.BlobKey(digest)] = a.staging.objects[a.name]
	delete(a.staging.objects, a.name)
	a.end()
	return nil
}

// Abort implements [sink.BlobWriter].
func (b *memoryBlob) Abort() error { return b.artifact.Abort() }

// Publish implements [sink.Staging].
func (t *memoryStaging) Publish(ctx context.Context, manifest []byte) error {
	unlock, err := t.sink.begin(ctx, OpPublish)
	if err != nil {
		return err
	}
	defer unlock()
	s := t.sink.store
	switch {
	case t.ended:
		return errEnded
	case t.open > 0:
		return fmt.Errorf("memory: an artifact of %s was neither committed nor aborted", t.name)
	case s.staged[t.name] != t:
		return fmt.Errorf("memory: %w: the attempt %s was replaced", sink.ErrUnavailable, t.name)
	}
	t.ended = true
	key := path.Join(t.dir, sink.ManifestName)
	if _, there := s.objects[key]; there {
		return fmt.Errorf("memory: %s: %w", t.dir, sink.ErrExists)
	}
	for name, content := range t.objects {
		s.objects[path.Join(t.dir, name)] = content
	}
	s.objects[key] = append([]byte(nil), manifest...)
	delete(s.staged, t.name)
	s.locked[t.dir] = time.Now().Add(s.lockFor)
	return s.fault(OpPublished)
}

// Discard implements [sink.Staging].
func (t *memoryStaging) Discard(context.Context) error {
	s := t.sink.store
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ended = true
	if s.staged[t.name] != t {
		return nil
	}
	if err := s.fault(OpDiscard); err != nil {
		return err
	}
	delete(s.staged, t.name)
	return nil
}
