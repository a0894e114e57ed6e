package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// The names of files in an archive: the documents that name its image, with the annotation
// by which the second one does, and a layer in the classic shape.
const (
	savedManifest  = "manifest.json"
	layerName      = "layer.tar"
	layoutIndex    = "index.json"
	nameAnnotation = "io.containerd.image.name"
	defaultDomain  = "docker.io/"
)

// WithName returns the image archive r with one change: an Engine that loads it gives
// the image this reference, repository:tag, and no other. The image stays the same, and
// so does its id. It must be closed, and when Close has returned, r is not read any more; Close does not
// close r. Its error is that of r, or wraps [ErrCorrupt].
//
// An archive of an image that was saved by its id carries no reference, and on some
// Engines the id that it will have cannot be told from outside. By a name of ours it is
// found from the first moment on.
func WithName(r io.Reader, reference string) io.ReadCloser {
	return piped(func(w io.Writer) error { return rename(w, r, reference) })
}

// rename copies an image archive, and has it name its image.
func rename(w io.Writer, r io.Reader, reference string) error {
	tr, tw := tar.NewReader(r), tar.NewWriter(w)
	buf := make([]byte, copyBuffer)
	for {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			if err := tw.Close(); err != nil {
				return err
			}
			_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, buf) // to the end, where r tells whether all was whole
			return err
		case errors.Is(err, tar.ErrHeader):
			return corrupt("it is not a whole tar archive (%v)", err)
		case err != nil:
			return fmt.Errorf("read the image archive: %w", err)
		case isSparse(h):
			return corrupt("%s is a sparse file", h.Name)
		}
		h.Format = tar.FormatUnknown // whatever fits
		content := io.Reader(tr)
		if change := renames[path.Clean(h.Name)]; change != nil && h.Typeflag == tar.TypeReg {
			changed, err := change(tr, h.Size, reference)
			if err != nil {
				return err
			}
			h.Size, content = int64(len(changed)), bytes.NewReader(changed)
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s of the image archive: %w", h.Name, err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{content}, buf); err != nil {
			return fmt.Errorf("copy %s of the image archive: %w", h.Name, err)
		}
	}
}

// renames are the documents that name the image, and what gives it another name.
var renames = map[string]func(r io.Reader, size int64, reference string) ([]byte, error){
	savedManifest: func(r io.Reader, size int64, reference string) ([]byte, error) {
		var images []map[string]json.RawMessage
		if err := readDocument(r, savedManifest, size, &images); err != nil {
			return nil, err
		}
		if len(images) != 1 {
			return nil, corrupt("it holds %d images instead of one", len(images))
		}
		if err := put(images[0], "RepoTags", []string{reference}); err != nil {
			return nil, err
		}
		return json.Marshal(images)
	},
	layoutIndex: func(r io.Reader, size int64, reference string) ([]byte, error) {
		var index map[string]json.RawMessage
		if err := readDocument(r, layoutIndex, size, &index); err != nil {
			return nil, err
		}
		var manifests []map[string]json.RawMessage
		if err := json.Unmarshal(index["manifests"], &manifests); err != nil || len(manifests) != 1 {
			return nil, corrupt("its %s does not name one image (it names %d; %v)", layoutIndex, len(manifests), err)
		}
		// The annotations that are there name it too, so none of them stays.
		if err := put(manifests[0], "annotations", map[string]string{nameAnnotation: qualified(reference)}); err != nil {
			return nil, err
		}
		if err := put(index, "manifests", manifests); err != nil {
			return nil, err
		}
		return json.Marshal(index)
	},
}

// qualified returns a reference with the registry's name, which a containerd store
// keeps with it.
func qualified(reference string) string {
	switch first, _, nested := strings.Cut(reference, "/"); {
	case !nested:
		return defaultDomain + "library/" + reference
	case strings.ContainsAny(first, ".:"):
		return reference
	default:
		return defaultDomain + reference
	}
}

func readDocument(r io.Reader, name string, size int64, into any) error {
	if size > maxDocument {
		return corrupt("%s has %d bytes, and at most %d are read", name, size, maxDocument)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read %s of the image archive: %w", name, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return corrupt("%s cannot be read: %v", name, err)
	}
	return nil
}

func put(document map[string]json.RawMessage, member string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		document[member] = raw
	}
	return err
}
