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
	"github.com/docker/docker/client"

	"holdfast.io/holdfast/internal/engine"
)

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

// What an Engine says of an image that it has loaded, of an archive that does not name
// it and of one that does; and of one that a containerd store has taken and cannot use,
// in an answer that says that all went well.
const (
	loadedByID   = "Loaded image ID: "
	loadedByName = "Loaded image: "
	notUnpacked  = "Error unpacking image"
)

// Load implements [engine.Loader].
func (e *Engine) Load(ctx context.Context, archive io.Reader) (string, error) {
	r, err := e.api.ImageLoad(ctx, archive)
	if err != nil {
		return "", e.translate(err)
	}
	defer r.Body.Close()
	failure := ""
	line, err := streamed(r.Body, func(line string) bool {
		if strings.HasPrefix(line, notUnpacked) {
			failure = line
		}
		return strings.HasPrefix(line, loadedByID) || strings.HasPrefix(line, loadedByName)
	})
	switch {
	case err != nil:
		return "", e.translate(err)
	case failure != "":
		return "", fmt.Errorf("the image cannot be used: %s", brief(strings.TrimSpace(failure)))
	case line == "":
		return "", badAnswer("it does not say which image it loaded")
	}
	name := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(line, loadedByID), loadedByName))
	img, err := e.InspectImage(ctx, name)
	if err != nil {
		return "", fmt.Errorf("look for the image %s that was loaded: %w", name, err)
	}
	return img.ID, nil
}

// contentSince is the version of the API from which on an Engine says of what an image
// lacks content.
const contentSince = "1.48"

// Content implements [engine.Loader].
func (e *Engine) Content(ctx context.Context, name string) (map[string]bool, error) {
	a, err := e.ask(ctx)
	if err != nil {
		return nil, err
	}
	if a.Leaves != engine.LeavesBlobs {
		return nil, fmt.Errorf("%w: it does not say what an image lacks", engine.ErrUnsupported)
	}
	img, err := e.askForImage(ctx, name, client.ImageInspectWithManifests(true))
	if err != nil {
		return nil, err
	}
	content := make(map[string]bool, len(img.Manifests))
	for _, m := range img.Manifests {
		content[m.Descriptor.Digest.String()] = m.Available
	}
	return content, nil
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

// RemoveContainer implements [engine.Containers].
func (e *Engine) RemoveContainer(ctx context.Context, id string) error {
	err := e.translate(e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return err
}

// toldError is an error that the Engine tells in a stream.
type toldError struct{ message string }

func (e *toldError) Error() string { return e.message }

// streamed reads a stream of messages to its end, and returns the last text that
// is wanted. An error in the stream, a [*toldError], is the call's error: its status came
// before.
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
			return "", &toldError{m.Error}
		case wanted != nil && wanted(m.Stream):
			found = m.Stream
		}
	}
}
