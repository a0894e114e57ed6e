package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	familiar "github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"holdfast.io/holdfast/internal/engine"
)

// Images implements [engine.Inventory].
func (e *Engine) Images(ctx context.Context) ([]engine.Image, error) {
	list, err := e.api.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, e.translate(err)
	}
	images := make([]engine.Image, 0, len(list))
	for _, i := range list {
		if i.ID == "" {
			return nil, badAnswer("its list has an image without an id, with the references %q", brief(strings.Join(i.RepoTags, " ")))
		}
		images = append(images, engine.Image{
			ID: i.ID, References: named(i.RepoTags), Digests: named(i.RepoDigests),
		})
	}
	return images, nil
}

// named drops the placeholders of an image without a name, and shortens names as a Docker
// Engine does: Podman writes docker.io/library/app:v1 for app:v1.
func named(refs []string) []string {
	var out []string
	for _, r := range refs {
		if strings.HasPrefix(r, "<none>") {
			continue
		}
		if ref, err := familiar.ParseNormalizedNamed(r); err == nil {
			r = familiar.FamiliarString(ref)
		}
		out = append(out, r)
	}
	return out
}

// InspectImage implements [engine.Images].
func (e *Engine) InspectImage(ctx context.Context, name string) (*engine.ImageDetail, error) {
	var document bytes.Buffer
	i, err := e.askForImage(ctx, name, client.ImageInspectWithRawResponse(&document))
	if err != nil {
		return nil, err
	}
	if i.ID == "" {
		return nil, badAnswer("its document of image %s lacks the Id", brief(name))
	}
	var raw struct{ Config json.RawMessage }
	if err := json.Unmarshal(document.Bytes(), &raw); err != nil {
		return nil, badAnswer("its document of image %s cannot be read: %s", brief(name), brief(err.Error()))
	}
	d := &engine.ImageDetail{ID: i.ID, References: named(i.RepoTags), Digests: named(i.RepoDigests), Size: max(i.Size, 0)}
	if string(raw.Config) != "null" {
		d.Config = raw.Config
	}
	d.DiffIDs = i.RootFS.Layers
	if i.Config != nil {
		d.Labels = i.Config.Labels
	}
	return d, nil
}

// askForImage inspects an image. A classic store that is removing it can answer that a layer
// does not exist, once: it forgets an image before its layers, so the second answer is that
// there is no such image. A store that has lost a layer says the same twice.
func (e *Engine) askForImage(ctx context.Context, name string, options ...client.ImageInspectOption) (image.InspectResponse, error) {
	i, err := e.api.ImageInspect(ctx, name, options...)
	if err != nil && strings.Contains(err.Error(), "layer does not exist") {
		i, err = e.api.ImageInspect(ctx, name, options...)
	}
	return i, e.translate(err)
}

// Dangling implements [engine.Images]. A listing has no comments, so every image
// is inspected, once: its comment never changes.
func (e *Engine) Dangling(ctx context.Context) ([]engine.DanglingImage, error) {
	list, err := e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("dangling", "true"))})
	if err != nil {
		return nil, e.translate(err)
	}
	e.mu.Lock()
	known := e.comments
	e.mu.Unlock()
	dangling := make([]engine.DanglingImage, 0, len(list))
	comments := make(map[string]string, len(list))
	for _, i := range list {
		comment, ok := known[i.ID]
		if !ok {
			detail, err := e.askForImage(ctx, i.ID)
			if errors.Is(err, engine.ErrNotFound) { // removed meanwhile
				continue
			} else if err != nil {
				return nil, err
			}
			comment = detail.Comment
		}
		comments[i.ID] = comment
		dangling = append(dangling, engine.DanglingImage{ID: i.ID, Comment: comment})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.comments = comments
	return dangling, nil
}

// Save implements [engine.Images].
func (e *Engine) Save(ctx context.Context, id string) (io.ReadCloser, error) {
	r, err := e.api.ImageSave(ctx, []string{id})
	if err != nil {
		return nil, e.saveError(ctx, id, e.translate(err))
	}
	return &saveReader{ReadCloser: r, ctx: ctx, engine: e}, nil
}

// saveError tells an image that is not there from one that is there in parts. Engine
// 20.10 reports an id that is not there as a fault of its own, and the containerd
// store reports not found for content of other platforms that was never pulled.
func (e *Engine) saveError(ctx context.Context, id string, err error) error {
	if errors.Is(err, engine.ErrRefused) || errors.Is(err, engine.ErrEngineUnavailable) {
		return err
	}
	switch _, gone := e.InspectImage(ctx, id); {
	case errors.Is(gone, engine.ErrNotFound):
		return gone
	case gone == nil && errors.Is(err, engine.ErrNotFound):
		return fmt.Errorf("%w: it was pulled or loaded for another platform, or in parts; pull it again for the platform of this host, "+
			"or save it by hand with docker save --platform (%v)", engine.ErrIncomplete, err)
	}
	return err
}

// saveReader reports why a stream broke off. An archive that the Engine's end
// broke off is not corrupt: the Engine is away.
type saveReader struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // a reader has no other place for it
	engine *Engine
}

func (r *saveReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(r.ctx); cause != nil {
			return n, cause
		}
		return n, r.engine.unavailable(err)
	}
	return n, err
}

// RemoveImage implements [engine.Images].
func (e *Engine) RemoveImage(ctx context.Context, name string) error {
	// Without PruneChildren the Engine leaves the parents alone: an untagged parent
	// whose container is gone by now is not ours to remove.
	// Without Force it leaves what a container uses, even one that is stopped.
	_, err := e.api.ImageRemove(ctx, name, image.RemoveOptions{Force: false, PruneChildren: false})
	conflict := errdefs.IsConflict(err)
	err = e.translate(err)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case conflict:
		return fmt.Errorf("%w: %w", engine.ErrInUse, err)
	}
	return err
}
