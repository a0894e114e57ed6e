package backup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
)

// saving is the image of an attempt on its way from the Engine's archive, which is read once, into
// the sinks that are left: as an archive, or in layers.
type saving struct {
	*attempt
	img    *engine.ImageDetail
	staged func() // is called when the Engine has staged the archive
	how    codec.Compression

	outs     outs
	mu       sync.Mutex
	info     *archive.Info // of the image; nil until a sink has all of it
	mistaken []*leg        // in which a layer seemed to be one that the sink has
}

// run stores the image.
func (s *saving) run(ctx context.Context) error {
	legs := s.live()
	var err error
	switch {
	case !slices.ContainsFunc(legs, isLayered):
		err = s.read(ctx, func(saved io.Reader) error {
			return s.artifact(ctx, legs, point.ImageArchive, mostOf(s.img.Size), imageArchive, s.compressed(saved))
		})
	case len(legs) == 1:
		err = s.layersAlone(ctx, legs[0], false)
	default:
		err = s.several(ctx)
	}
	for _, l := range s.again() {
		if err == nil {
			err = s.layersAlone(ctx, l, true)
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imageIs(s.img, s.info)
	return nil
}

// again returns the sinks for which the archive is read once more.
func (s *saving) again() []*leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(s.mistaken, s.isDropped)
}

// read has take read the Engine's archive.
func (s *saving) read(ctx context.Context, take func(saved io.Reader) error) error {
	return s.imageError(s.Transport.Read(ctx, s.img.ID, take, func(read int64) {
		s.staged()
		s.progress(events.StepSave, read, s.img.Size, s.outs.StoredBytes())
	}))
}

func (s *saving) proven(info *archive.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}

// several stores the image in several sinks, some of which have it in layers: each of those stores
// what it lacks, and the others compress the archive by themselves.
func (s *saving) several(ctx context.Context) error {
	s.how.Streams = len(s.live())
	if err := s.beginLayers(ctx, s.img); err != nil {
		return err
	}
	return s.read(ctx, func(saved io.Reader) error {
		return s.fan(ctx, s.live(), s.take, func(fan io.Writer) error {
			out := bufio.NewWriterSize(fan, fanBuffer)
			_, err := io.Copy(out, saved)
			if err == nil {
				err = out.Flush()
			}
			if errors.Is(err, codec.ErrNobody) { // each of the sinks says why, if it is not read once more for them
				return nil
			}
			return err
		})
	})
}

// fanBuffer is how many bytes of the archive are given to several sinks at a time.
const fanBuffer = 1 << 20

// take stores in a sink what comes out of a branch.
func (s *saving) take(ctx context.Context, l *leg, branch *codec.Branch) error {
	return read(branch, func(saved io.Reader) error {
		if isLayered(l) {
			l.writer.Within(ctx)
			return s.layersIn(ctx, l, l.writer, saved)
		}
		return s.artifactIn(ctx, l, point.ImageArchive, mostOf(s.img.Size), imageArchive, s.compressed(saved))
	})
}

// read has take read what comes out of a branch, and returns its error.
func read(branch *codec.Branch, take func(r io.Reader) error) error {
	r, w := io.Pipe()
	var ended sync.WaitGroup
	ended.Go(func() {
		_, err := branch.WriteTo(w)
		_ = w.CloseWithError(err)
	})
	defer ended.Wait()
	defer r.Close()
	return take(r)
}

// imageArchive is the artifact of an image that is stored as an archive.
var imageArchive = events.Artifact{MediaType: point.MediaTypeImageArchive}

// compressed stores the archive that is read, compressed.
func (s *saving) compressed(saved io.Reader) func(to codec.Destination) (codec.Stored, error) {
	return func(to codec.Destination) (codec.Stored, error) {
		out, err := codec.NewWriter(to, s.how)
		if err != nil {
			return codec.Stored{}, err
		}
		defer out.Abort()
		s.outs.add(out)
		info, err := archive.Check(io.TeeReader(saved, out), s.img.ID)
		if err != nil {
			return codec.Stored{}, err
		}
		s.proven(info)
		return out.Finish()
	}
}

// layersAlone reads the archive for one sink alone, and stores its layers there. With blind set all
// of them are read and compressed, also those that the sink seems to have.
func (s *saving) layersAlone(ctx context.Context, l *leg, blind bool) error {
	return s.inOne(ctx, l, func(ctx context.Context, l *leg) (err error) {
		w := l.writer
		if w == nil || blind { // of several sinks the others have ended by then
			if w, err = s.layerWriter(ctx, l, s.img, s.Transport.Compression); err != nil {
				return err
			}
		}
		w.Blind = blind
		w.Within(ctx)
		return s.read(ctx, func(saved io.Reader) error { return s.layersIn(ctx, l, w, saved) })
	})
}

// layersIn stores the layers of the image that a sink does not have.
func (s *saving) layersIn(ctx context.Context, l *leg, w *image.Writer, saved io.Reader) error {
	s.outs.add(w)
	info, err := archive.Split(saved, s.img.ID, stepped{w, ctx})
	if errors.Is(err, image.ErrMistaken) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mistaken = append(s.mistaken, l)
		return nil
	}
	if err != nil {
		return err
	}
	artifacts, err := w.Finish(info)
	if err != nil {
		return failure.FromSink(err)
	}
	s.proven(info)
	l.artifacts = append(l.artifacts, artifacts...)
	return nil
}
