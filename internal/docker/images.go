package docker

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/docker/docker/api/types/image"

	"holdfast.io/holdfast/internal/backup"
)

// Images implements [backup.Inventory].
func (e *Engine) Images(ctx context.Context) ([]backup.Image, error) {
	list, err := e.api.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, e.translate(err)
	}
	images := make([]backup.Image, 0, len(list))
	for _, i := range list {
		images = append(images, backup.Image{
			ID: i.ID, References: named(i.RepoTags), Digests: named(i.RepoDigests),
		})
	}
	return images, nil
}

// named drops the placeholders of an image without a name.
func named(refs []string) []string {
	var out []string
	for _, r := range refs {
		if !strings.HasPrefix(r, "<none>") {
			out = append(out, r)
		}
	}
	return out
}

// InspectImage implements [backup.Images].
func (e *Engine) InspectImage(ctx context.Context, id string) (*backup.ImageDetail, error) {
	i, err := e.api.ImageInspect(ctx, id)
	if err != nil {
		return nil, e.translate(err)
	}
	return &backup.ImageDetail{ID: i.ID, Size: i.Size}, nil
}

// Save implements [backup.Images].
func (e *Engine) Save(ctx context.Context, id string) (io.ReadCloser, error) {
	r, err := e.api.ImageSave(ctx, []string{id})
	if err != nil {
		// Engine 20.10 reports an id that is not there as a fault of its own.
		if _, gone := e.InspectImage(ctx, id); errors.Is(gone, backup.ErrNotFound) {
			return nil, gone
		}
		return nil, e.translate(err)
	}
	return &saveReader{ReadCloser: r, ctx: ctx, engine: e}, nil
}

// saveReader reports why a stream broke off.
type saveReader struct {
	io.ReadCloser
	ctx    context.Context
	engine *Engine
}

func (r *saveReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); cause != nil {
			return n, cause
		}
		return n, r.engine.translate(err)
	}
	return n, err
}

// RemoveImage implements [backup.Images].
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	// Without PruneChildren the Engine leaves the parents alone: an untagged parent
	// whose container is gone by now is not ours to remove.
	_, err := e.api.ImageRemove(ctx, ref, image.RemoveOptions{Force: true, PruneChildren: false})
	err = e.translate(err)
	if errors.Is(err, backup.ErrNotFound) {
		return nil
	}
	return err
}
