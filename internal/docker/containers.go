package docker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/internal/engine"
)

// Containers implements [engine.Inventory].
func (e *Engine) Containers(ctx context.Context) ([]engine.Container, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, e.translate(err)
	}
	containers := make([]engine.Container, 0, len(list))
	for _, c := range list {
		l, err := listed(c)
		if err != nil {
			return nil, err
		}
		containers = append(containers, l)
	}
	return containers, nil
}

// Inspect implements [engine.Containers].
func (e *Engine) Inspect(ctx context.Context, id string) (*engine.ContainerDetail, error) {
	_, raw, err := e.api.ContainerInspectWithRaw(ctx, id, false)
	if raw == nil && err != nil { // with a document, it is that which cannot be read
		return nil, e.translate(err)
	}
	return detail(id, raw)
}

// Commit implements [engine.Containers].
func (e *Engine) Commit(ctx context.Context, id string, o engine.CommitOptions) (string, error) {
	options := container.CommitOptions{Reference: o.Reference, Comment: o.Comment, Pause: o.Pause}
	if about, err := e.About(ctx); err != nil {
		return "", err
	} else if about.Kind == podmanEngine { // which cannot take a commit without a body
		options.Config = &container.Config{}
	}
	r, err := e.api.ContainerCommit(ctx, id, options)
	if err != nil {
		return "", e.commitError(ctx, id, e.translate(err))
	}
	if fullID.MatchString(r.ID) { // so Podman says it
		r.ID = "sha256:" + r.ID
	}
	if r.ID == "" {
		return "", badAnswer("it says that container %s is committed, and not to which image", id)
	}
	return r.ID, nil
}

// unfit are the texts of errors that an Engine reports for what no image can hold:
// of the system for a path, of moby's layer store for the number of layers, and of
// archive/tar for a name or an attribute.
var unfit = regexp.MustCompile(`file name too long|max depth exceeded|archive/tar: cannot encode header`)

// commitError finds out why a commit failed. An Engine whose classic store lacks
// the container's image reports a file of its own that is not there.
func (e *Engine) commitError(ctx context.Context, id string, err error) error {
	if errors.Is(err, engine.ErrRefused) || errors.Is(err, engine.ErrEngineUnavailable) || errors.Is(err, engine.ErrNotFound) {
		return err
	}
	if unfit.MatchString(err.Error()) {
		return fmt.Errorf("%w: %w; shorten or remove what is named, or, where the image has too many layers, make it one by "+
			"docker export and docker import", engine.ErrUncommittable, err)
	}
	c, failure := e.api.ContainerInspect(ctx, id)
	if failure != nil || c.ContainerJSONBase == nil {
		return err
	}
	if _, failure = e.InspectImage(ctx, c.Image); errors.Is(failure, engine.ErrNotFound) {
		return engine.BaseMissing(c.Image)
	}
	return err
}

// Stop implements [engine.Containers].
func (e *Engine) Stop(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerStop(ctx, id, container.StopOptions{}))
}

// Start implements [engine.Containers].
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerStart(ctx, id, container.StartOptions{}))
}

// Pause implements [engine.Containers].
func (e *Engine) Pause(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerPause(ctx, id))
}

// Unpause implements [engine.Containers].
func (e *Engine) Unpause(ctx context.Context, id string) error {
	err := e.translate(e.api.ContainerUnpause(ctx, id))
	if err != nil && strings.Contains(err.Error(), "is not paused") {
		return nil
	}
	return err
}
