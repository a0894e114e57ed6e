package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(dialStdio); socket != "" {
		os.Exit(serveStdio(socket))
	}
	goleak.VerifyTestMain(m)
}

// TestEngine holds the Engine of this machine to the port, or the one that
// DOCKER_HOST names. It fails if there is none: a skip would hide that nothing
// was tested.
func TestEngine(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Bench { return openBench(t) })
}

func TestNoEngine(t *testing.T) {
	e, err := docker.Connect("unix://" + filepath.Join(t.TempDir(), "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx := t.Context()
	calls := map[string]func() error{
		"About":      func() error { _, err := e.About(ctx); return err },
		"Containers": func() error { _, err := e.Containers(ctx); return err },
		"Images":     func() error { _, err := e.Images(ctx); return err },
		"Inspect":    func() error { _, err := e.Inspect(ctx, "c"); return err },
		"Commit":     func() error { _, err := e.Commit(ctx, "c", engine.CommitOptions{}); return err },
		"Stop":       func() error { return e.Stop(ctx, "c") },
		"Start":      func() error { return e.Start(ctx, "c") },
		"Pause":      func() error { return e.Pause(ctx, "c") },
		"Unpause":    func() error { return e.Unpause(ctx, "c") },
		"Dangling":   func() error { _, err := e.Dangling(ctx); return err },
		"Ping":       func() error { return e.Ping(ctx) },
		"Save":       func() error { _, err := e.Save(ctx, "i"); return err },
		"Remove":     func() error { return e.RemoveImage(ctx, "i") },
		"Push":       func() error { return e.Push(ctx, "127.0.0.1:1/i:v1", engine.Credentials{}, func() {}) },
		"LookUp":     func() error { return e.LookUp(ctx, "127.0.0.1:1/i:v1", engine.Credentials{}) },
		"Volumes":    func() error { _, err := e.Volumes(ctx); return err },
		"Volume":     func() error { _, err := e.InspectVolume(ctx, "v"); return err },
		"Sizes":      func() error { _, err := e.VolumeSizes(ctx); return err },
		"Watch":      func() error { _, err := e.Watch(ctx, "c"); return err },
		"Helper": func() error {
			_, err := e.CreateHelper(ctx, engine.HelperSpec{Name: "h", Volume: "v", Command: []string{"x"}})
			return err
		},
		"RemoveHelper": func() error { _, err := e.RemoveHelper(ctx, "h"); return err },
		"Exec":         func() error { _, err := e.Exec(ctx, "c", []string{"/idle"}); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, engine.ErrEngineUnavailable) {
			t.Errorf("%s reports %v, want ErrEngineUnavailable", name, err)
		}
	}
}

// bench is a real Engine, and its API for what a backup does not do.
type bench struct {
	*docker.Engine
	api   *client.Client
	proxy *dockertest.Proxy // before the Engine, once calls are to be refused
}

func openBench(t testing.TB) *bench { return openBenchAt(t, "") }

// openBenchAt opens the Engine at an address; empty for that of the environment.
func openBenchAt(t testing.TB, host string) *bench {
	t.Helper()
	e, err := docker.Connect(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	at := client.FromEnv
	if host != "" {
		at = client.WithHost(host)
	}
	api, err := client.NewClientWithOpts(at, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	if _, err := api.Ping(t.Context()); err != nil {
		t.Fatalf("these tests need a Docker Engine: %v", err)
	}
	return &bench{Engine: e, api: api}
}

// Make implements [enginetest.Bench].
func (b *bench) Make(t testing.TB, s enginetest.Spec) string {
	t.Helper()
	config := &container.Config{Image: s.Image, Labels: s.Labels}
	if s.Volume != "" {
		config.Volumes = map[string]struct{}{s.Volume: {}}
	}
	host := &container.HostConfig{AutoRemove: s.AutoRemove}
	for _, m := range s.Mounts {
		source := m.Name
		if m.Type == "bind" {
			source = m.Source
		}
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.Type(m.Type), Source: source, Target: m.Destination, ReadOnly: m.ReadOnly})
	}
	if s.Network != "" {
		host.NetworkMode = container.NetworkMode("container:" + s.Network)
	}
	if s.Processes != "" {
		host.PidMode = container.PidMode("container:" + s.Processes)
	}
	if s.Tmpfs != "" {
		host.Tmpfs = map[string]string{s.Tmpfs: ""}
	}
	c, err := b.api.ContainerCreate(t.Context(), config, host, nil, nil, s.Name)
	if err != nil {
		t.Fatalf("create a container: %v", err)
	}
	t.Cleanup(func() {
		b.remove(t, func(ctx context.Context) error {
			return b.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		})
	})
	return c.ID
}

// MakeImage implements [enginetest.Bench].
func (b *bench) MakeImage(t testing.TB, references ...string) string {
	t.Helper()
	r, err := b.api.ImageImport(t.Context(), image.ImportSource{Source: rootFS(t), SourceName: "-"}, references[0],
		image.ImportOptions{Changes: []string{`CMD ["/idle"]`}})
	if err != nil {
		t.Fatalf("import an image: %v", err)
	}
	defer r.Close()
	if answer, err := io.ReadAll(r); err != nil || bytes.Contains(answer, []byte(`"error"`)) {
		t.Fatalf("import an image: %v: %s", err, answer)
	}
	img, err := b.api.ImageInspect(t.Context(), references[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.remove(t, func(ctx context.Context) error {
			_, err := b.api.ImageRemove(ctx, img.ID, image.RemoveOptions{Force: true})
			return err
		})
	})
	for _, ref := range references[1:] {
		if err := b.api.ImageTag(t.Context(), img.ID, ref); err != nil {
			t.Fatal(err)
		}
	}
	return img.ID
}

// remove removes what a test made, unless it is gone.
func (b *bench) remove(t testing.TB, remove func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := remove(ctx); err != nil && !errdefs.IsNotFound(err) {
		t.Errorf("remove what the test made: %v", err)
	}
}

// Write implements [enginetest.Bench].
func (b *bench) Write(t testing.TB, id, file, content string) {
	t.Helper()
	files := tarOf(t, map[string][]byte{path.Base(file): []byte(content)})
	if err := b.api.CopyToContainer(t.Context(), id, path.Dir(file), files, container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
}

// MakeVolume implements [enginetest.Bench].
func (b *bench) MakeVolume(t testing.TB, name string, labels map[string]string) {
	t.Helper()
	if _, err := b.api.VolumeCreate(t.Context(), volume.CreateOptions{Name: name, Labels: labels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.remove(t, func(ctx context.Context) error { return b.api.VolumeRemove(ctx, name, false) })
	})
}

// DropVolume implements [enginetest.Bench].
func (b *bench) DropVolume(t testing.TB, name string) {
	t.Helper()
	if err := b.api.VolumeRemove(t.Context(), name, false); err != nil {
		t.Fatal(err)
	}
}

// Kill implements [enginetest.Bench].
func (b *bench) Kill(t testing.TB, id string) {
	t.Helper()
	if err := b.api.ContainerKill(t.Context(), id, "KILL"); err != nil {
		t.Fatal(err)
	}
}

// Remove implements [enginetest.Bench].
func (b *bench) Remove(t testing.TB, id string) {
	t.Helper()
	if err := b.api.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
		t.Fatal(err)
	}
}

// Folder implements [enginetest.Bench].
func (b *bench) Folder(t testing.TB) string { return t.TempDir() }

// HelperFiles implements [enginetest.Bench].
func (b *bench) HelperFiles(t testing.TB) io.Reader { return rootFS(t) }

// Refuse implements [enginetest.Bench].
func (b *bench) Refuse(t testing.TB, calls ...engine.Call) {
	t.Helper()
	if b.proxy == nil {
		b.proxy = dockertest.NewProxy(t, b.api.DaemonHost())
	}
	b.proxy.Treat(dockertest.Treatment{}, engine.Calls...)
	b.proxy.Treat(dockertest.Treatment{Refuse: true}, calls...)
	e, err := docker.Connect(b.proxy.Host()) // which has found out nothing yet
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	b.Engine = e
}

// rootFS is a file system with the idle program and something that is in no
// other.
func rootFS(t testing.TB) io.Reader {
	t.Helper()
	idle, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return tarOf(t, map[string][]byte{"idle": idle, "unlike": []byte(rand.Text())})
}

func tarOf(t testing.TB, files map[string][]byte) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// program is a static Linux program for the Engine's architecture.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e, err := docker.Connect("")
	if err != nil {
		return nil, err
	}
	defer e.Close()
	about, err := e.About(context.Background())
	if err != nil {
		return nil, err
	}
	out := filepath.Join(dir, "idle")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/idle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+about.Architecture, "GOFLAGS=-buildvcs=false")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the containers' program: %w: %s", err, text)
	}
	return os.ReadFile(out)
})
