package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// The calls of [engine.Helpers]. A fault is on the volume or the path that the helper
// is for, and one of RemoveHelper on the helper's name.
const (
	CreateHelper Op = "CreateHelper"
	CopyToHelper Op = "CopyToHelper"
	RunHelper    Op = "RunHelper"
	RemoveHelper Op = "RemoveHelper"
)

// Helper is what the program in a helper does. It returns when ctx ends.
type Helper func(ctx context.Context, s engine.HelperSpec, stdin io.Reader, stdout, stderr io.Writer) (exitCode int)

// SetHelper says what helpers do. Until then they can run [Program].
func (f *Fake) SetHelper(h Helper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.helper = h
}

// AddFolder makes an empty folder of the Engine's host.
func (f *Fake) AddFolder(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.folders[path] = true
}

// Helpers returns the names of the helpers that there are, in any order.
func (f *Fake) Helpers() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if c.helper != nil {
			names = append(names, c.Name)
		}
	}
	return names
}

// CreateHelper implements [engine.Helpers].
func (f *Fake) CreateHelper(ctx context.Context, s engine.HelperSpec) (string, error) {
	fault, err := f.begin(ctx, CreateHelper, s.Volume+s.Bind)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	mount := engine.Mount{Type: "bind", Source: s.Bind, Destination: engine.HelperPlace, ReadOnly: !s.Writes}
	there := f.folders[s.Bind]
	if s.Volume != "" {
		_, there = f.volumes[s.Volume]
		mount.Type, mount.Name = "volume", s.Volume
	}
	switch {
	case !there:
		return "", fmt.Errorf("%w: %s", engine.ErrNotFound, s.Volume+s.Bind)
	case s.Image != "" && f.findImage(s.Image) == nil:
		return "", fmt.Errorf("%w: %s", engine.ErrNoHelperImage, s.Image)
	}
	for _, c := range f.containers {
		if c.Name == s.Name {
			return "", fmt.Errorf("the container name %s is taken", s.Name)
		}
	}
	c := &container{Spec: Spec{Name: s.Name, Labels: map[string]string{engine.HelperLabel: s.Name}, Mounts: []engine.Mount{mount}},
		id: f.newID("container"), state: events.StateCreated, files: map[string][]byte{}, helper: &s}
	f.containers[c.id] = c
	return c.id, fault.late()
}

// CopyToHelper implements [engine.Helpers]. What helpers do says SetHelper, so the files
// are only read.
func (f *Fake) CopyToHelper(ctx context.Context, id string, files io.Reader) error {
	_, fault, err := f.beginHelper(ctx, CopyToHelper, id)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, files); err != nil {
		return err
	}
	return fault.late()
}

// beginHelper enters a call about a helper.
func (f *Fake) beginHelper(ctx context.Context, op Op, id string) (*container, Fault, error) {
	f.mu.Lock()
	c := f.containers[id]
	f.mu.Unlock()
	on := id
	if c != nil && c.helper != nil {
		on = c.helper.Volume + c.helper.Bind
	}
	fault, err := f.begin(ctx, op, on)
	if err == nil && (c == nil || c.helper == nil) {
		err = fmt.Errorf("%w: container %s", engine.ErrNotFound, id)
	}
	return c, fault, err
}

// RunHelper implements [engine.Helpers].
func (f *Fake) RunHelper(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	c, fault, err := f.beginHelper(ctx, RunHelper, id)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	run := f.helper
	if run == nil {
		run = f.program
	}
	c.state = events.StateRunning
	f.mu.Unlock()
	var failed error
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	code := run(ctx, *c.helper, reading{stdin, &failed}, writing{stdout, &failed}, writing{stderr, &failed})
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case failed != nil:
		return 0, failed
	case f.isAway():
		return 0, errAway
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c.state, c.exit = events.StateExited, code
	return code, fault.late()
}

// reading and writing keep the first error of a stream.
type reading struct {
	io.Reader
	failed *error
}

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && *r.failed == nil {
		*r.failed = err
	}
	return n, err
}

type writing struct {
	io.Writer
	failed *error
}

func (w writing) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil && *w.failed == nil {
		*w.failed = err
	}
	return n, err
}

// RemoveHelper implements [engine.Helpers].
func (f *Fake) RemoveHelper(ctx context.Context, name string) (found bool, err error) {
	fault, err := f.begin(ctx, RemoveHelper, name)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ours := func(labels map[string]string) bool { return labels[engine.HelperLabel] == name }
	n := len(f.containers) + len(f.volumes)
	maps.DeleteFunc(f.containers, func(_ string, c *container) bool { return ours(c.Labels) })
	maps.DeleteFunc(f.volumes, func(_ string, v engine.Volume) bool { return ours(v.Labels) })
	return len(f.containers)+len(f.volumes) < n, fault.late()
}

// program does in a helper what [Program] does.
func (f *Fake) program(ctx context.Context, s engine.HelperSpec, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(stderr, err)
		return 1
	}
	command := s.Command
	switch {
	case len(command) > 1 && command[1] == "say":
		_, _ = io.WriteString(stdout, command[2])
		_, _ = io.WriteString(stderr, command[3])
		return number(command[4])
	case len(command) < 3 || command[1] != "keep" && command[1] != "show":
		r := program(ctx, command)
		_, _ = stdout.Write(r.Output)
		return r.ExitCode
	}
	place, name := s.Volume+s.Bind, strings.TrimPrefix(command[2], engine.HelperPlace+"/")
	f.mu.Lock()
	content, there := f.contents[place][name]
	f.mu.Unlock()
	switch {
	case command[1] == "keep" && !s.Writes:
		return fail(errors.New("read-only file system"))
	case command[1] == "keep":
		content, err := io.ReadAll(stdin)
		if err != nil {
			return fail(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.contents[place] == nil {
			f.contents[place] = map[string][]byte{}
		}
		f.contents[place][name] = content
	case !there:
		return fail(errors.New("no such file"))
	default:
		_, _ = stdout.Write(content)
	}
	return 0
}
