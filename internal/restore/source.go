package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// maxDocument bounds what is read of a document of a point.
const maxDocument = 16 << 20

// Source is a point as it is restored from. Documents are whole and proven; archives
// are proven as they are read.
type Source struct {
	Dir      string
	Manifest *point.Manifest
	// Document is the Engine's inspect document of the container, Context what that
	// names; nil for another kind of point. A point of an older version has no Context.
	Document []byte
	Context  *recreate.Context

	sink sink.Reader
}

// Open reads what a point says of itself, and looks whether all of its objects are
// there in their sizes.
func Open(ctx context.Context, from sink.Reader, dir string) (*Source, error) {
	m, err := point.Read(ctx, from, dir)
	if err != nil {
		return nil, failure.FromSink(err)
	}
	if err := m.Unseal(ctx, seal.Of(from)); err != nil {
		return nil, err
	}
	s := &Source{Dir: dir, Manifest: m, sink: from}
	for i := range m.Artifacts {
		if err := s.look(ctx, &m.Artifacts[i]); err != nil {
			return nil, err
		}
	}
	if m.Item.Kind != events.ItemContainer {
		return s, s.mayOpen(ctx)
	}
	if s.Document, err = s.document(ctx, point.MediaTypeContainerConfig); err != nil {
		return nil, err
	}
	raw, err := s.document(ctx, point.MediaTypeContainerContext)
	if errors.Is(err, errUnsuitable) {
		return s, nil
	}
	if err == nil {
		s.Context, err = recreate.DecodeContext(raw)
	}
	return s, err
}

// look sees whether an artifact is there in its size.
func (s *Source) look(ctx context.Context, a *events.Artifact) error {
	info, err := s.sink.Stat(ctx, a.Key)
	switch {
	case errors.Is(err, sink.ErrNotFound):
		return fmt.Errorf("%w: %s is not there", codec.ErrDamaged, a.Key)
	case err != nil:
		return failure.FromSink(err)
	case info.Size != a.Size:
		return fmt.Errorf("%w: %s has %d bytes instead of %d", codec.ErrDamaged, a.Key, info.Size, a.Size)
	}
	return nil
}

// document returns an artifact that was stored as it is. It reports errUnsuitable if
// the point has none of this media type.
func (s *Source) document(ctx context.Context, mediaType string) ([]byte, error) {
	a := s.Manifest.Artifact(mediaType)
	if a == nil {
		return nil, fmt.Errorf("%w: it has no %s", errUnsuitable, mediaType)
	}
	f, err := s.sink.Open(ctx, a.Key)
	if err != nil {
		return nil, failure.FromSink(err)
	}
	defer f.Close()
	plain, err := codec.NewPlainReader(sinkReader{f}, point.Stored(a), s.decrypt(ctx, a))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Key, err)
	}
	raw, err := io.ReadAll(io.LimitReader(plain, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("%w: it has more than %d bytes", codec.ErrDamaged, maxDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Key, err)
	}
	return raw, nil
}

// Image returns where the image is read from. told is told how many stored bytes were read.
func (s *Source) Image(told func(n int64)) image.Source {
	count := &counter{told: told}
	return image.Source{Manifest: s.Manifest, Seal: seal.Of(s.sink), Open: func(ctx context.Context, key string) (io.ReadCloser, error) {
		f, err := s.sink.Open(ctx, key)
		if err != nil {
			return nil, failure.FromSink(err)
		}
		return counted{sinkReader{f}, f, count}, nil
	}}
}

// Volume is the archive of the volume that had this name; nil if the point has none.
func (s *Source) Volume(name string) *events.Artifact {
	for i := range s.Manifest.Artifacts {
		if a := &s.Manifest.Artifacts[i]; point.IsVolume(a) && a.Name == name {
			return a
		}
	}
	return nil
}

// Read returns the plain bytes of a volume. Its end is reported only when all that
// was stored has been read and is proven; before that, nothing of it is to be trusted.
// told is told how many stored bytes were read.
func (s *Source) Read(ctx context.Context, a *events.Artifact, told func(n int64)) (io.ReadCloser, error) {
	count := &counter{told: told}
	from := pieces.Source{Manifest: s.Manifest, Seal: seal.Of(s.sink),
		Open: func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
			f, err := pieces.In(s.sink)(ctx, key, offset, length)
			if err != nil {
				return nil, failure.FromSink(err)
			}
			return counted{sinkReader{f}, f, count}, nil
		}}
	return from.Volume(ctx, a)
}

// mayOpen reports seal.ErrNoIdentity if the archives are encrypted and cannot be opened
// here.
func (s *Source) mayOpen(ctx context.Context) error {
	for i := range s.Manifest.Artifacts {
		if a := &s.Manifest.Artifacts[i]; a.Encryption != "" {
			f, err := s.sink.Open(ctx, a.Key)
			if err != nil {
				return failure.FromSink(err)
			}
			_, err = s.decrypt(ctx, a)(sinkReader{f})
			return errors.Join(err, f.Close())
		}
	}
	return nil
}

// decrypt returns what opens an artifact; nil if it is in clear.
func (s *Source) decrypt(ctx context.Context, a *events.Artifact) codec.Decrypt {
	return seal.Of(s.sink).Opener(ctx, a.Encryption)
}

// counter counts what is read, of one object after another. Any goroutine reads.
type counter struct {
	n    atomic.Int64
	told func(n int64)
}

// counted is an object of which is counted what is read.
type counted struct {
	io.Reader
	io.Closer
	counter *counter
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.counter.told(c.counter.n.Add(int64(n)))
	return n, err
}

// sinkReader marks errors as the sink's.
type sinkReader struct{ io.Reader }

func (r sinkReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = failure.FromSink(err)
	}
	return n, err
}
