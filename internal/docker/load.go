package docker

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"holdfast.io/holdfast/internal/engine"
)

// Architecture returns the Engine's architecture as Go names it.
func (e *Engine) Architecture(ctx context.Context) (string, error) {
	v, err := e.api.ServerVersion(ctx)
	return v.Arch, e.translate(err)
}

// Import makes an image named ref of a file system and a command.
func (e *Engine) Import(ctx context.Context, files io.Reader, ref string, command []string) error {
	cmd, err := json.Marshal(command)
	if err != nil {
		return fmt.Errorf("encode the command: %w", err)
	}
	r, err := e.api.ImageImport(ctx, image.ImportSource{Source: files, SourceName: "-"}, ref,
		image.ImportOptions{Changes: []string{"CMD " + string(cmd)}})
	if err != nil {
		return e.translate(err)
	}
	defer r.Close()
	_, err = streamed(r, nil)
	return err
}

// Create makes a container of an image, as it is configured, and returns its id.
func (e *Engine) Create(ctx context.Context, name, image string) (string, error) {
	c, err := e.api.ContainerCreate(ctx, &container.Config{Image: image}, nil, nil, nil, name)
	return c.ID, e.translate(err)
}

// Load loads what docker save wrote, of one image that was saved by its id, and
// returns the id that it has now.
func (e *Engine) Load(ctx context.Context, archive io.Reader) (string, error) {
	r, err := e.api.ImageLoad(ctx, archive)
	if err != nil {
		return "", e.translate(err)
	}
	defer r.Body.Close()
	const loaded = "Loaded image ID: "
	line, err := streamed(r.Body, func(line string) bool { return strings.HasPrefix(line, loaded) })
	if err != nil {
		return "", err
	}
	if line == "" {
		return "", errors.New("the Engine does not say that it loaded an image")
	}
	return strings.TrimSpace(strings.TrimPrefix(line, loaded)), nil
}

// ReadFile reads a regular file of a container, in any state.
func (e *Engine) ReadFile(ctx context.Context, container, path string) ([]byte, error) {
	r, _, err := e.api.CopyFromContainer(ctx, container, path)
	if err != nil {
		return nil, e.translate(err)
	}
	defer r.Close()
	tr := tar.NewReader(r)
	if _, err := tr.Next(); err != nil {
		return nil, fmt.Errorf("read %s from container %s: %w", path, container, err)
	}
	return io.ReadAll(tr)
}

// RemoveContainer removes a container, whatever its state, and its anonymous
// volumes. It is no error if it is not there.
func (e *Engine) RemoveContainer(ctx context.Context, id string) error {
	err := e.translate(e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return err
}

// streamed reads a stream of messages to its end, and returns the last text that
// is wanted. An error in the stream is the call's error: its status came before.
func streamed(r io.Reader, wanted func(text string) bool) (string, error) {
	dec := json.NewDecoder(r)
	found := ""
	for {
		var m struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return found, nil
		case err != nil:
			return "", fmt.Errorf("read the Engine's answer: %w", err)
		case m.Error != "":
			return "", errors.New(m.Error)
		case wanted != nil && wanted(m.Stream):
			found = m.Stream
		}
	}
}
