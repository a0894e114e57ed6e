package restore

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/volume"
)

// imageFile is the name of the image archive in a folder, as docker load takes it.
const imageFile = "image.tar"

// ToFolder writes a point into a folder of this machine, without an Engine: documents as
// they are, the image archive as docker load takes it, and volumes unpacked, or with
// asTar as archives. The folder is new, below parent, and called as the item is; it
// appears whole or not at all. It returns its path, and what could not be kept of volumes.
func (s *Source) ToFolder(ctx context.Context, parent string, asTar bool) (dir string, lost []string, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, err
	}
	dir = filepath.Join(parent, point.EncodeName(s.Manifest.Item.Name))
	if _, err := os.Lstat(dir); err == nil {
		return "", nil, fmt.Errorf("%s is there already: name another folder", dir)
	}
	partial, err := os.MkdirTemp(parent, ".holdfast-restore-*")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(partial)
		}
	}()
	raw, err := s.Manifest.Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(partial, "manifest.json"), raw, 0o600)
	}
	if _, has := image.SizeOf(s.Manifest); has && err == nil {
		err = s.imageTo(ctx, filepath.Join(partial, imageFile))
	}
	for i := range s.Manifest.Artifacts {
		if err != nil {
			return "", nil, err
		}
		if a := &s.Manifest.Artifacts[i]; image.Is(a) || a.MediaType == point.MediaTypePack {
			continue
		}
		var notKept string
		notKept, err = s.artifactTo(ctx, &s.Manifest.Artifacts[i], partial, asTar)
		if notKept != "" {
			lost = append(lost, notKept)
		}
	}
	if err != nil {
		return "", nil, err
	}
	return dir, lost, os.Rename(partial, dir)
}

// artifactTo writes one artifact into a folder.
func (s *Source) artifactTo(ctx context.Context, a *events.Artifact, dir string, asTar bool) (lost string, err error) {
	if !point.IsVolume(a) { // a document, or what this version does not know
		name := strings.TrimSuffix(filepath.Base(a.Key), seal.Suffix)
		return "", s.documentTo(ctx, a, filepath.Join(dir, name))
	}
	volumes := filepath.Join(dir, "volumes")
	if err := os.MkdirAll(volumes, 0o700); err != nil {
		return "", err
	}
	to := filepath.Join(volumes, point.EncodeName(a.Name))
	if asTar {
		return "", s.archiveTo(ctx, a, to+".tar")
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	content, err := s.Read(ctx, a, func(int64) {})
	if err != nil {
		return "", err
	}
	defer content.Close()
	report, err := volume.Extract(ctx, content, to)
	if report.Lost.Count > 0 {
		lost = fmt.Sprintf("volume %s: %s", a.Name, report.Lost)
	}
	return lost, err
}

// imageTo writes the image archive into a file.
func (s *Source) imageTo(ctx context.Context, path string) error {
	content, err := s.Image(func(int64) {}).Archive(ctx, "")
	if err != nil {
		return err
	}
	defer content.Close()
	return writeFile(path, content)
}

// archiveTo writes the plain bytes of an archive into a file.
func (s *Source) archiveTo(ctx context.Context, a *events.Artifact, path string) error {
	content, err := s.Read(ctx, a, func(int64) {})
	if err != nil {
		return err
	}
	defer content.Close()
	return writeFile(path, content)
}

// documentTo writes an object that is not compressed, or of which that is not known, into a
// file.
func (s *Source) documentTo(ctx context.Context, a *events.Artifact, path string) error {
	f, err := s.sink.Open(ctx, a.Key)
	if err != nil {
		return failure.FromSink(err)
	}
	defer f.Close()
	plain, err := codec.NewPlainReader(sinkReader{f}, point.Stored(a), s.decrypt(ctx, a))
	if err != nil {
		return err
	}
	return writeFile(path, plain)
}

func writeFile(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Close()
}
