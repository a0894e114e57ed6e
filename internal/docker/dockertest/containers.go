package dockertest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
)

// Container says what container is made.
type Container struct {
	Name, Image string
	Labels      map[string]string
	// AlwaysRestart lets the Engine start it again when the daemon was stopped.
	AlwaysRestart bool
	// Payload is how many random bytes are written into it, so that a commit and
	// a save take their time.
	Payload int
	// Volume is the name of a volume at /data, where all of that is written; empty for
	// none. It is removed with the test.
	Volume string
	// Network is its network mode; empty for none.
	Network string
}

// ImportImage makes an image whose containers keep writing, see [Engine.Lines].
// It is removed with the test.
func (e *Engine) ImportImage(t testing.TB, ref string) {
	t.Helper()
	if err := e.Import(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := e.api.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		if err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("remove the image %s: %v", ref, err)
		}
	})
}

// Import makes an image as ImportImage does, and leaves it to the caller.
func (e *Engine) Import(ctx context.Context, ref string) error {
	program, err := writer()
	if err != nil {
		return err
	}
	root, err := archive(map[string][]byte{"writer": program, "data/": nil, "tmp/": nil})
	if err != nil {
		return err
	}
	r, err := e.api.ImageImport(ctx, image.ImportSource{Source: root, SourceName: "-"}, ref,
		image.ImportOptions{Changes: []string{`CMD ["/writer"]`}})
	if err != nil {
		return fmt.Errorf("import the image %s: %w", ref, err)
	}
	defer r.Close()
	answer, err := io.ReadAll(r)
	if err == nil && bytes.Contains(answer, []byte(`"error"`)) {
		err = errors.New(string(answer))
	}
	if err != nil {
		return fmt.Errorf("import the image %s: %w", ref, err)
	}
	return nil
}

// Run makes a container and starts it, and returns its id. It is removed with
// the test.
func (e *Engine) Run(t testing.TB, c Container) string {
	t.Helper()
	host := &container.HostConfig{NetworkMode: container.NetworkMode(cmp.Or(c.Network, "none"))}
	if e.options.Podman { // a Docker Engine is told at its start
		host.CgroupParent = "/" + e.name
	}
	if c.AlwaysRestart {
		host.RestartPolicy.Name = container.RestartPolicyAlways
	}
	if c.Volume != "" {
		host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: c.Volume, Target: "/data"}}
		t.Cleanup(func() { e.removeVolume(t, c.Volume) })
	}
	made, err := e.api.ContainerCreate(t.Context(), &container.Config{Image: c.Image, Labels: c.Labels}, host, nil, nil, c.Name)
	if err != nil {
		t.Fatalf("create container %s: %v", c.Name, err)
	}
	t.Cleanup(func() { e.remove(t, made.ID) })
	if c.Payload > 0 {
		e.Write(t, made.ID, "data/payload", randomBytes(c.Name, c.Payload))
	}
	if err := e.api.ContainerStart(t.Context(), made.ID, container.StartOptions{}); err != nil {
		t.Fatalf("start container %s: %v", c.Name, err)
	}
	return made.ID
}

func (e *Engine) remove(t testing.TB, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("remove container %s: %v", id, err)
	}
}

func (e *Engine) removeVolume(t testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.api.VolumeRemove(ctx, name, false); err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("remove volume %s: %v", name, err)
	}
}

// Write writes a file into a container's writable layer, or its volume.
func (e *Engine) Write(t testing.TB, id, file string, content []byte) {
	t.Helper()
	files, err := archive(map[string][]byte{file: content})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.api.CopyToContainer(t.Context(), id, "/", files, container.CopyToContainerOptions{}); err != nil {
		t.Fatalf("write %s into container %s: %v", file, id, err)
	}
}

// Read returns a file of a container.
func (e *Engine) Read(ctx context.Context, id, file string) (string, error) {
	r, _, err := e.api.CopyFromContainer(ctx, id, "/"+file)
	if err != nil {
		return "", fmt.Errorf("read %s of container %s: %w", file, id, err)
	}
	defer r.Close()
	files := tar.NewReader(r)
	if _, err := files.Next(); err != nil {
		return "", fmt.Errorf("read %s of container %s: %w", file, id, err)
	}
	content, err := io.ReadAll(files)
	return string(content), err
}

// Lines returns how many lines a container has written so far.
func (e *Engine) Lines(ctx context.Context, id string) (int, error) {
	content, err := e.Read(ctx, id, "data/log")
	return strings.Count(content, "\n"), err
}

// randomBytes can't be compressed, and is the same for the same seed.
func randomBytes(seed string, n int) []byte {
	var key [32]byte
	copy(key[:], seed)
	content := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(content)
	return content
}

// archive is a tar of files, and of folders, whose names end in a slash.
func archive(files map[string][]byte) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}
		if name[len(name)-1] == '/' {
			h.Typeflag, h.Mode = tar.TypeDir, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}

// writer is the program of the containers, statically linked.
var writer = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "writer")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "holdfast.io/holdfast/internal/docker/dockertest/writer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the containers' program: %w: %s", err, text)
	}
	return os.ReadFile(out)
})
