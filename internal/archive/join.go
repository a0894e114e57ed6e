package archive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Parts are what an image consists of.
type Parts struct {
	// ConfigDigest is the digest of Config, "sha256:<hex>".
	ConfigDigest string
	Config       []byte
	// Layers are all layers, the lowest first. One that occurs twice is written once.
	Layers []Part
	// Reference is the name that the image gets, repository:tag; empty for none.
	Reference string
}

// Part is one layer.
type Part struct {
	DiffID string // "sha256:<hex>"
	Size   int64  // of the plain bytes
	// Open returns the plain bytes, or those of Packed. Their end is reported only when they are
	// proven. It is nil for a layer that is left out, as the Engine has it.
	Open func() (io.ReadCloser, error)
	// Packed is as which blob the layer is there, compressed by gzip; the zero value for a layer
	// that is not. Every Engine unpacks it. Then Size may be wrong.
	Packed v1.Descriptor
	// Kept is as which blob the Engine has a layer that is left out of a [Layout].
	Kept v1.Descriptor
}

// Join returns the archive of an image, in the classic shape, which every Engine loads, and
// a classic store also where the lowest layers are left out that it has.
// Its end is reported only when every layer was read to its own. It must be closed, and
// when Close has returned, no layer is read any more.
func Join(p Parts) io.ReadCloser {
	return piped(p.write)
}

func (p Parts) write(w io.Writer) error {
	tw := tar.NewWriter(w)
	image := savedImage{Config: strings.TrimPrefix(p.ConfigDigest, digestPrefix) + ".json", Layers: []string{}}
	if p.Reference != "" {
		image.RepoTags = []string{p.Reference}
	}
	if err := addFile(tw, image.Config, int64(len(p.Config)), bytes.NewReader(p.Config)); err != nil {
		return err
	}
	written := map[string]bool{}
	for _, l := range p.Layers {
		name := path.Join(strings.TrimPrefix(l.DiffID, digestPrefix), layerName)
		image.Layers = append(image.Layers, name)
		if l.Open == nil || written[name] {
			continue
		}
		written[name] = true
		if err := l.write(tw, name); err != nil {
			return err
		}
	}
	raw, err := json.Marshal([]savedImage{image})
	if err != nil {
		return err
	}
	if err := addFile(tw, savedManifest, int64(len(raw)), bytes.NewReader(raw)); err != nil {
		return err
	}
	return tw.Close()
}

// savedImage is what the manifest of an archive says of an image.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (l Part) write(tw *tar.Writer, name string) error {
	plain, err := l.Open()
	if err != nil {
		return err
	}
	defer plain.Close()
	return addFile(tw, name, cmp.Or(l.Packed.Size, l.Size), plain)
}

// addFile writes one file, which must have just this size.
func addFile(tw *tar.Writer, name string, size int64, content io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return fmt.Errorf("write %s of the image archive: %w", name, err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{content}, make([]byte, copyBuffer))
	switch {
	case err != nil:
		return fmt.Errorf("copy %s of the image archive: %w", name, err)
	case n != size:
		return corrupt("%s has %d bytes instead of %d", name, n, size)
	}
	return nil
}

// piped returns what write writes, by a goroutine of its own that Close waits for.
func piped(write func(w io.Writer) error) io.ReadCloser {
	out, in := io.Pipe()
	p := &pipe{PipeReader: out, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		in.CloseWithError(write(in))
	}()
	return p
}

// pipe is an archive that a goroutine writes.
type pipe struct {
	*io.PipeReader
	ended chan struct{}
}

func (p *pipe) Close() error {
	err := p.PipeReader.Close()
	<-p.ended
	return err
}
