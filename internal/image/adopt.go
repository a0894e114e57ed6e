package image

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// Repository is where an Engine has pushed an image by itself.
type Repository interface {
	OpenBlob(ctx context.Context, digest string, offset, length int64) (io.ReadCloser, error)
	KeepBlob(ctx context.Context, digest string, size int64) (was bool, err error)
}

// Adopt stores the image with this id that an Engine has pushed to the repository in which the sink
// lies, under this manifest, and returns its artifacts as Finish does. Its layers stay the blobs
// that the Engine has pushed, also where the sink has one of them as another blob: so the Engine
// finds them there next time, and other daemons can pull the image. None is read: that a blob unpacks
// to its diff id is what the Engine says, as it is of an image that is saved that it is the container's.
// It reports ErrNotTaken for another image, and for one that cannot be stored so.
func (w *Writer) Adopt(from Repository, manifest []byte, imageID string) (*archive.Info, []events.Artifact, error) {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, nil, fmt.Errorf("%w: its manifest: %w", ErrNotTaken, err)
	}
	config, err := w.pushedConfig(from, m.Config)
	if err != nil {
		return nil, nil, err
	}
	diffIDs, err := DiffIDs(config)
	switch {
	case imageID != m.Config.Digest.String() && imageID != digest.FromBytes(manifest).String():
		return nil, nil, fmt.Errorf("%w: its manifest is of another image, with the configuration %.100q", ErrNotTaken, m.Config.Digest)
	case err != nil || !slices.Equal(diffIDs, w.diffIDs) || len(diffIDs) != len(m.Layers):
		return nil, nil, fmt.Errorf("%w: it has other layers than the image", ErrNotTaken)
	}
	for i, d := range diffIDs {
		if _, done := w.stored[d]; done {
			continue
		}
		if w.stored[d], err = w.adopt(from, d, m.Layers[i]); err != nil {
			return nil, nil, err
		}
	}
	info := &archive.Info{ConfigDigest: m.Config.Digest.String(), Config: config, DiffIDs: diffIDs}
	all, err := w.Finish(info)
	return info, all, err
}

// pushedConfig reads the configuration of an image that was pushed.
func (w *Writer) pushedConfig(from Repository, d v1.Descriptor) ([]byte, error) {
	if sink.CheckDigest(d.Digest.String()) != nil || d.Size <= 0 || d.Size > maxDocument {
		return nil, fmt.Errorf("%w: its manifest names no configuration", ErrNotTaken)
	}
	raw, err := w.readBlob(from, d.Digest.String(), 0, d.Size)
	if err == nil && digest.FromBytes(raw) != d.Digest {
		err = fmt.Errorf("%w: its configuration is damaged", ErrNotTaken)
	}
	return raw, err
}

func (w *Writer) readBlob(from Repository, digest string, offset, length int64) ([]byte, error) {
	r, err := from.OpenBlob(w.ctx, digest, offset, length)
	if err != nil {
		return nil, notPushed(err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, length))
	return raw, errors.Join(err, r.Close())
}

// notPushed is the error of a blob that should be there.
func notPushed(err error) error {
	if errors.Is(err, sink.ErrNotFound) {
		return fmt.Errorf("%w: a blob of it did not come: %w", ErrNotTaken, err)
	}
	return err
}

// mediaTypes are how layers are stored that Engines push in these forms. There are more, which
// nothing says how large they are of.
var mediaTypes = map[string]string{
	v1.MediaTypeImageLayer:                              point.MediaTypeLayerPlain,
	v1.MediaTypeImageLayerGzip:                          point.MediaTypeLayerGzip,
	"application/vnd.docker.image.rootfs.diff.tar":      point.MediaTypeLayerPlain,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": point.MediaTypeLayerGzip,
}

// adopt makes a blob that was pushed the layer with this diff id.
func (w *Writer) adopt(from Repository, diffID string, d v1.Descriptor) (a events.Artifact, err error) {
	pushed := d.Digest.String()
	known, isKnown := w.known[diffID]
	if isKnown && known.Digest == pushed {
		return known, nil
	}
	mediaType, ok := mediaTypes[d.MediaType]
	switch {
	case !ok, sink.CheckDigest(pushed) != nil, d.Size <= 0:
		return a, fmt.Errorf("%w: a layer of it is of the type %.100q", ErrNotTaken, d.MediaType)
	case mediaType == point.MediaTypeLayerPlain && pushed != diffID:
		return a, fmt.Errorf("%w: the blob %s is not the layer %s", ErrNotTaken, pushed, diffID)
	}
	if err := blob.Hold(w.ctx, w.Sink, pushed); err != nil {
		return a, err
	}
	was, err := from.KeepBlob(w.ctx, pushed, d.Size)
	if err != nil {
		return a, notPushed(err)
	}
	e := blob.Entry{Name: diffID, Digest: pushed, Size: d.Size, UncompressedSize: d.Size, MediaType: mediaType, Pushed: w.pushed[diffID]}
	switch {
	case mediaType == point.MediaTypeLayerPlain:
	case isKnown:
		e.UncompressedSize = known.UncompressedSize
	default:
		if e.UncompressedSize, err = w.plainSize(from, pushed, d.Size); err != nil {
			return a, err
		}
	}
	if err := e.Put(w.ctx, w.Sink); err != nil {
		return a, err
	}
	a = e.Artifact()
	a.Reused = was
	return a, nil
}

// plainSize returns how large a gzip stream says at its end that its plain bytes are. It says no more
// than the lower 32 bits, and of several streams after each other the size of the last.
func (w *Writer) plainSize(from Repository, digest string, size int64) (int64, error) {
	const length = 4
	if size < length {
		return 0, fmt.Errorf("%w: a layer of it is cut short", ErrNotTaken)
	}
	end, err := w.readBlob(from, digest, size-length, length)
	if err != nil || len(end) < length {
		return 0, errors.Join(err, io.ErrUnexpectedEOF)
	}
	plain := int64(binary.LittleEndian.Uint32(end))
	for plain < size-size/8 { // what cannot be compressed grows by less
		plain += 1 << 32
	}
	return plain, nil
}
