package nats_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// engine is the machine's Docker Engine, and an image of the test's own on it.
type engine struct {
	t     *testing.T
	api   *client.Client
	name  string // begins those of the containers
	image string
}

// newEngine fails the test if there is no Engine: a skip would hide that nothing
// was tested.
func newEngine(t *testing.T) *engine {
	t.Helper()
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatalf("this test needs a Docker Engine: %v", err)
	}
	t.Cleanup(func() { api.Close() })
	e := &engine{t: t, api: api, name: fmt.Sprintf("hfnats%08x", rand.Uint32())}
	e.image = "holdfast/test:" + e.name
	program := build(t, "../../worker/testdata/idle", "CGO_ENABLED=0")
	r, err := api.ImageImport(t.Context(), image.ImportSource{Source: archive("idle", []byte(read(t, program))), SourceName: "-"}, e.image,
		image.ImportOptions{Changes: []string{`CMD ["/idle"]`}})
	if err != nil {
		t.Fatalf("this test needs a Docker Engine: %v", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.Background(), e.image, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the test's image: %v", err)
		}
	})
	return e
}

// run starts a container with as many bytes, which is removed with the test, and
// returns its name.
func (e *engine) run(size int) string {
	e.t.Helper()
	name := fmt.Sprintf("%s-%d", e.name, size)
	made, err := e.api.ContainerCreate(e.t.Context(), &container.Config{Image: e.image},
		&container.HostConfig{NetworkMode: "none"}, nil, nil, name)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.api.ContainerRemove(ctx, made.ID, container.RemoveOptions{Force: true}); err != nil {
			e.t.Errorf("remove the test's container: %v", err)
		}
	})
	content := make([]byte, size)
	for i := range content {
		content[i] = byte('a' + rand.N(16)) // few letters are the most work to compress
	}
	if err := e.api.CopyToContainer(e.t.Context(), made.ID, "/", archive("content", content), container.CopyToContainerOptions{}); err != nil {
		e.t.Fatal(err)
	}
	if err := e.api.ContainerStart(e.t.Context(), made.ID, container.StartOptions{}); err != nil {
		e.t.Fatal(err)
	}
	return name
}

// archive is a tar of one file.
func archive(name string, content []byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))})
	_, _ = w.Write(content)
	_ = w.Close() // none of them fails in memory
	return &b
}

// build compiles a program of this module, and returns its path.
func build(t *testing.T, pkg string, env ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, pkg)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}
