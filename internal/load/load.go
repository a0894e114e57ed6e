// Package load brings the image of a point onto an Engine, without what the Engine has of
// it. What each store takes was measured: a classic one an archive without the lowest
// layers of another of its images, a containerd one a layout without blobs that it has.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/image"
)

// Engine is what is needed of an Engine.
type Engine interface {
	engine.Loader
	About(ctx context.Context) (engine.About, error)
	Images(ctx context.Context) ([]engine.Image, error)
	InspectImage(ctx context.Context, name string) (*engine.ImageDetail, error)
	RemoveImage(ctx context.Context, name string) error
}

// Image loads the image of a point under a reference that no image has, and returns the id
// that it has on this Engine. What the Engine has of it is not read, if the image's layers
// are apart; where that does not succeed, all of it is loaded. Whatever comes of it, nothing
// has the reference but the image: until Image has returned, another image may have it for a
// moment. An error of what is read comes before the Engine's own, which says less of it.
func Image(ctx context.Context, e Engine, from image.Source, reference string, log *zap.Logger) (id string, err error) {
	l := loader{e, reference}
	id, err = l.part(ctx, from)
	if id != "" && err == nil {
		return id, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		if errors.Is(err, engine.ErrEngineUnavailable) {
			return "", err
		}
		log.Info("all of an image is loaded, as a part of it did not do", zap.String("point", from.Manifest.ID), zap.Error(err))
		if err := e.RemoveImage(ctx, reference); err != nil {
			return "", fmt.Errorf("remove the image that is not complete: %w", err)
		}
	}
	whole, err := from.Archive(ctx, reference)
	if err != nil {
		return "", err
	}
	return l.load(ctx, whole)
}

// loader loads one image.
type loader struct {
	Engine
	reference string
}

// load loads an archive, and closes it.
func (l loader) load(ctx context.Context, from io.ReadCloser) (id string, err error) {
	guarded := &guard{Reader: from}
	id, err = l.Load(ctx, guarded)
	_ = from.Close() // the Engine can answer while it is still sent something
	if guarded.err != nil {
		err = guarded.err
	}
	return id, err
}

// guard remembers the error of a reader, which an Engine would hide behind its own.
type guard struct {
	io.Reader
	err error
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if err != nil && err != io.EOF {
		g.err = err
	}
	return n, err
}

// part loads the image without what the Engine has of it. It returns neither an id nor an
// error if nothing was loaded, as all of the image must be sent.
func (l loader) part(ctx context.Context, from image.Source) (id string, err error) {
	about, err := l.About(ctx)
	if err != nil || about.Leaves == engine.LeavesNothing {
		return "", err
	}
	layers, ok, err := from.Layers(ctx, l.reference)
	if err != nil || !ok {
		return "", err
	}
	if about.Leaves == engine.LeavesBlobs {
		return l.beside(ctx, layers)
	}
	n, err := l.lowest(ctx, layers.DiffIDs())
	if err != nil || n == 0 {
		return "", err
	}
	return l.load(ctx, layers.Above(n))
}

// lowest returns how many of the lowest layers an image on the Engine has. It stops at one
// that has all but the last, as that on which a container is based has.
func (l loader) lowest(ctx context.Context, diffIDs []string) (most int, err error) {
	images, err := l.Images(ctx)
	if err != nil {
		return 0, err
	}
	for _, img := range images {
		detail, err := l.InspectImage(ctx, img.ID)
		if errors.Is(err, engine.ErrNotFound) { // removed meanwhile
			continue
		}
		if err != nil {
			return 0, err
		}
		if most = max(most, detail.Lowest(diffIDs)); most >= len(diffIDs)-1 {
			break
		}
	}
	return most, nil
}

// beside loads the image without the blobs that the Engine has, and proves that it is
// complete.
func (l loader) beside(ctx context.Context, layers *image.Layers) (id string, err error) {
	kept, err := l.kept(ctx, layers)
	if err != nil || len(kept) == 0 {
		return "", err
	}
	if id, err = l.load(ctx, layers.Beside(kept)); err != nil {
		return "", err
	}
	content, err := l.Content(ctx, l.reference)
	if err != nil {
		return "", err
	}
	complete := len(content) > 0
	for _, has := range content {
		complete = complete && has
	}
	if !complete {
		return "", fmt.Errorf("%w: blobs that it had are gone", engine.ErrIncomplete)
	}
	return id, nil
}

// kept asks the Engine as which blobs it has the lowest layers, of as many as it has. It may
// have some as they were pushed, and those above as an earlier load has sent them. Whether it
// has the highest layer alone is not worth a question.
func (l loader) kept(ctx context.Context, layers *image.Layers) (kept []v1.Descriptor, err error) {
	likely, plain := layers.Blobs(ctx)
	for n := 0; n == 0 && len(plain) > 0 || len(plain)-n > 1; n = len(kept) {
		more, err := l.ask(ctx, likely[n:], plain[n:])
		if err != nil {
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		kept = append(kept, more...)
	}
	return kept, nil
}

// ask asks the Engine for the lowest of layers, as either blobs, and returns those that it
// has. For that it loads an image that names them, and removes it.
func (l loader) ask(ctx context.Context, likely, plain []v1.Descriptor) ([]v1.Descriptor, error) {
	var lists [][]v1.Descriptor // the longest first
	for _, n := range lengths(len(plain)) {
		lists = append(lists, likely[:n], plain[:n])
	}
	question, manifests, err := archive.Question(l.reference, lists)
	if err != nil {
		return nil, err
	}
	if _, err := l.load(ctx, io.NopCloser(bytes.NewReader(question))); err != nil {
		return nil, err
	}
	content, err := l.Content(ctx, l.reference)
	if err = errors.Join(err, l.RemoveImage(ctx, l.reference)); err != nil {
		return nil, err
	}
	for i, list := range lists {
		if content[manifests[i]] {
			return list, nil
		}
	}
	return nil, nil
}

// lengths returns for which numbers of the lowest of n layers an Engine is asked at a time,
// the highest first. An Engine takes some 20 ms for each, so not all: it is asked again for
// those above the ones that it has.
func lengths(n int) (all []int) {
	all = []int{n}
	for less := 1; less < n; less *= 2 {
		all = append(all, n-less)
	}
	if all[len(all)-1] > 1 {
		all = append(all, 1)
	}
	return all
}
