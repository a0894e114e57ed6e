package helper

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"

	"holdfast.io/holdfast/internal/engine"
)

// program is an executable with all files that it needs where nothing else is; without
// files it is the entrypoint of an image.
type program struct {
	files       []file
	environment []string
}

// file is a file of this machine, and its path in a helper.
type file struct{ from, to string }

// executable is where our program is in a helper.
const executable = "/holdfast"

// program returns what helpers on this Engine run.
func (r *Runner) program(ctx context.Context) (*program, error) {
	if r.Image != "" {
		return &program{}, nil
	}
	about, err := r.Engine.About(ctx)
	if err != nil {
		return nil, err
	}
	if about.NeedsImage {
		return nil, fmt.Errorf("%w: %s makes no container without an image; name one that has holdfast by helper.image in the configuration",
			ErrNoProgram, about.Kind)
	}
	if runtime.GOOS != about.OS || runtime.GOARCH != about.Architecture {
		return nil, fmt.Errorf(
			"%w: it runs %s/%s, and this program is for %s/%s; name an image that has holdfast by helper.image in the configuration",
			ErrNoProgram, about.OS, about.Architecture, runtime.GOOS, runtime.GOARCH)
	}
	p, err := self()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoProgram, err)
	}
	return p, nil
}

// command is the command of a helper that does op.
func (p *program) command(op string) []string {
	command := []string{Command, op, engine.HelperPlace}
	if len(p.files) == 0 {
		return command
	}
	return append([]string{executable}, command...)
}

// put puts the program into a helper.
func (p *program) put(ctx context.Context, e engine.Helpers, id string) error {
	if len(p.files) == 0 {
		return nil
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := p.pack(w)
		w.CloseWithError(err)
		written <- err
	}()
	err := e.CopyToHelper(ctx, id, r)
	r.Close()
	if werr := <-written; werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr // of a file of this machine
	}
	return err
}

// pack writes the files as an archive.
func (p *program) pack(w io.Writer) error {
	archive := tar.NewWriter(w)
	folders := map[string]bool{"/": true}
	for _, f := range p.files {
		if dir := path.Dir(f.to); !folders[dir] {
			folders[dir] = true
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755}); err != nil {
				return err
			}
		}
		if err := f.pack(archive); err != nil {
			return err
		}
	}
	return archive.Close()
}

func (f file) pack(archive *tar.Writer) error {
	content, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.to[1:], Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, io.LimitReader(content, info.Size()))
	return err
}
