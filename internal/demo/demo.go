// Package demo shows the main job on the real Engine: it makes a container that
// keeps writing, has it backed up, loads the archive back, and proves that it
// holds exactly what was written before the snapshot.
package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/demo/sample"
	"holdfast.io/holdfast/internal/engine"
)

// Engine is what the demo needs of an Engine beside a backup.
type Engine interface {
	About(ctx context.Context) (engine.About, error)
	// Import makes an image of a file system and a command.
	Import(ctx context.Context, tar io.Reader, ref string, command []string) error
	// Create makes a container and returns its id.
	Create(ctx context.Context, name, image string) (string, error)
	Start(ctx context.Context, id string) error
	// Load loads an archive and returns the id of the image in it.
	Load(ctx context.Context, archive io.Reader) (string, error)
	// ReadFile reads a file of a container, in any state.
	ReadFile(ctx context.Context, container, path string) ([]byte, error)
	// RemoveContainer and RemoveImage are no error if there is nothing to remove.
	RemoveContainer(ctx context.Context, id string) error
	RemoveImage(ctx context.Context, ref string) error
}

// Sample is the container that keeps writing, and all else that the demo makes
// on the Engine.
type Sample struct {
	// Name is the container's name, Image its image's.
	Name, Image string
	engine      Engine
	undo        []func(ctx context.Context) error
}

// warmUp is how long the sample writes before it is backed up.
const warmUp = 500 * time.Millisecond

// Start makes the image and the container, and lets it write for a moment. The
// caller calls Remove, also after an error. dir is for temporary files.
func Start(ctx context.Context, e Engine, dir string) (*Sample, error) {
	id := uuid.NewString()[:8]
	s := &Sample{Name: "holdfast-demo-" + id, Image: "holdfast/demo:" + id, engine: e}
	about, err := e.About(ctx)
	if err != nil {
		return s, fmt.Errorf("ask the Engine for its architecture: %w", err)
	}
	path, command, err := program(ctx, dir, about.Architecture)
	if err != nil {
		return s, err
	}
	s.onRemove(func(ctx context.Context) error { return e.RemoveImage(ctx, s.Image) })
	r, w := io.Pipe()
	go func() { w.CloseWithError(image(w, path)) }()
	if err := e.Import(ctx, r, s.Image, command); err != nil {
		return s, fmt.Errorf("import the sample's image: %w", err)
	}
	s.onRemove(func(ctx context.Context) error { return e.RemoveContainer(ctx, s.Name) })
	if _, err := e.Create(ctx, s.Name, s.Image); err != nil {
		return s, fmt.Errorf("create the sample container: %w", err)
	}
	if err := e.Start(ctx, s.Name); err != nil {
		return s, fmt.Errorf("start the sample container: %w", err)
	}
	select {
	case <-time.After(warmUp):
		return s, nil
	case <-ctx.Done():
		return s, context.Cause(ctx)
	}
}

func (s *Sample) onRemove(f func(ctx context.Context) error) { s.undo = append(s.undo, f) }

// Remove removes all that was made on the Engine, also when ctx was cancelled.
func (s *Sample) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var errs error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = errors.Join(errs, s.undo[i](ctx))
	}
	s.undo = nil
	return errs
}

// Proof is what a comparison of the archive with the container showed.
type Proof struct {
	// Archived is how many lines are in the archive, Written how many are in the
	// container by now.
	Archived, Written int
	// Last is when the last line in the archive was written, Next when the first
	// one was that is not in it.
	Last, Next time.Time
	// LoadedID is the image that docker load made.
	LoadedID string
}

// Prove loads the image archive back and compares what the sample wrote in it with
// what it has written by now. It is an error if a line that was written before
// the snapshot is not in the archive, or one that came later is.
func (s *Sample) Prove(ctx context.Context, archive io.Reader, snapshot time.Time) (Proof, error) {
	var p Proof
	var err error
	if p.LoadedID, err = s.engine.Load(ctx, archive); err != nil {
		return p, fmt.Errorf("load the archive: %w", err)
	}
	s.onRemove(func(ctx context.Context) error { return s.engine.RemoveImage(ctx, p.LoadedID) })
	name := s.Name + "-loaded"
	s.onRemove(func(ctx context.Context) error { return s.engine.RemoveContainer(ctx, name) })
	if _, err := s.engine.Create(ctx, name, p.LoadedID); err != nil {
		return p, fmt.Errorf("create a container from the loaded image: %w", err)
	}
	archived, err := s.engine.ReadFile(ctx, name, sample.Path)
	if err != nil {
		return p, fmt.Errorf("read the log in the loaded image: %w", err)
	}
	written, err := s.engine.ReadFile(ctx, s.Name, sample.Path)
	if err != nil {
		return p, fmt.Errorf("read the log in the container: %w", err)
	}
	return p, p.compare(archived, written, snapshot)
}

// compare fills in the proof. It is a pure function of its arguments.
func (p *Proof) compare(archived, written []byte, snapshot time.Time) error {
	p.Archived, p.Written = bytes.Count(archived, []byte("\n")), bytes.Count(written, []byte("\n"))
	switch {
	case p.Archived == 0:
		return errors.New("nothing of what was written is in the archive")
	case !bytes.HasPrefix(written, archived):
		return errors.New("the archive holds something else than what was written")
	case p.Archived == p.Written:
		return errors.New("the container wrote nothing after the snapshot")
	}
	var err error
	if p.Last, err = lineTime(archived[bytes.LastIndexByte(archived[:len(archived)-1], '\n')+1:]); err != nil {
		return err
	}
	if p.Next, err = lineTime(written[len(archived):]); err != nil {
		return err
	}
	if p.Last.After(snapshot) {
		return fmt.Errorf("the archive holds what was written at %s, after the snapshot at %s", p.Last, snapshot)
	}
	if p.Next.Before(snapshot.Add(-sample.Interval)) {
		return fmt.Errorf("what was written at %s is not in the archive, though the snapshot was at %s", p.Next, snapshot)
	}
	return nil
}

// lineTime is the time of the first line in b.
func lineTime(b []byte) (time.Time, error) {
	var n, nanos int64
	if _, err := fmt.Fscanf(bufio.NewReader(bytes.NewReader(b)), "%d %d\n", &n, &nanos); err != nil {
		return time.Time{}, fmt.Errorf("read a line of the sample's log: %w", err)
	}
	return time.Unix(0, nanos), nil
}
