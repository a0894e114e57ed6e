package backup

import (
	"context"
	"errors"
	"io"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/transport"
)

// volumeTarget is what is stored of a volume or bind mount in a point.
type volumeTarget struct {
	attempt *attempt
	volume  events.PlannedVolume
	how     codec.Compression
}

// Put implements [transport.VolumeTarget]. Sinks of the layered format take the plain stream, each
// of which cuts it by what it has; if there is one, others compress it by themselves.
func (t volumeTarget) Put(ctx context.Context, write func(out transport.Stream) (codec.Stored, error)) error {
	r := t.attempt
	legs := r.live()
	switch {
	case !slices.ContainsFunc(legs, isLayered):
		name, a := t.archive()
		return r.artifact(ctx, legs, name, mostOf(t.volume.Size), a, t.compressed(write))
	case len(legs) == 1:
		return r.inOne(ctx, legs[0], func(ctx context.Context, l *leg) error {
			if err := t.look(ctx, l); err != nil {
				return err
			}
			return t.store(ctx, l, write)
		})
	}
	t.how.Streams = len(legs)
	if err := r.inLegs(ctx, t.look); err != nil {
		return err
	}
	var out plainStream
	return r.fan(ctx, r.live(), func(ctx context.Context, l *leg, branch *codec.Branch) error {
		return t.store(ctx, l, func(to transport.Stream) (codec.Stored, error) {
			out.add(to)
			return drain(branch, to)
		})
	}, func(fan io.Writer) error {
		out.Writer = fan
		_, err := write(&out)
		return err
	})
}

// plainStream is a stream that goes to several others, which store it.
type plainStream struct {
	io.Writer
	outs
}

// Finish implements [transport.Stream]. The others are finished when they have what was written.
func (s *plainStream) Finish() (codec.Stored, error) { return codec.Stored{}, nil }

// Abort implements [transport.Stream].
func (s *plainStream) Abort() {}

// archive is the artifact of a volume that is stored whole, and its name.
func (t volumeTarget) archive() (string, events.Artifact) {
	name := t.volume.ArtifactName()
	return point.VolumeArchive(name), events.Artifact{Name: name, MediaType: point.MediaTypeVolume}
}

// compressed stores what write writes, compressed.
func (t volumeTarget) compressed(write func(out transport.Stream) (codec.Stored, error)) func(codec.Destination) (codec.Stored, error) {
	return func(to codec.Destination) (codec.Stored, error) {
		out, err := codec.NewWriter(to, t.how)
		if err != nil {
			return codec.Stored{}, err
		}
		return write(out)
	}
}

// look has known what a sink has of the volume, if it lies in pieces there. That takes time, for
// which no stream waits.
func (t volumeTarget) look(ctx context.Context, l *leg) error {
	if !isLayered(l) {
		return nil
	}
	before, err := t.attempt.before(ctx, l)
	if err == nil {
		l.known, err = pieces.KnownBy(ctx, l.sink, before, t.volume.ArtifactName())
	}
	return failure.FromSink(err)
}

// store stores in a sink what write writes: in pieces, or whole.
func (t volumeTarget) store(ctx context.Context, l *leg, write func(out transport.Stream) (codec.Stored, error)) error {
	r, most := t.attempt, mostOf(t.volume.Size)
	if !isLayered(l) {
		name, a := t.archive()
		return r.artifactIn(ctx, l, name, most, a, t.compressed(write))
	}
	known := l.known
	l.known = nil
	var packs []events.Artifact
	name := t.volume.ArtifactName()
	a := events.Artifact{Name: name, MediaType: point.MediaTypePieces}
	err := r.artifactIn(ctx, l, point.VolumePieces(name), most, a, func(to codec.Destination) (codec.Stored, error) {
		out, err := pieces.NewWriter(ctx, to, pieces.Options{Sink: l.sink, Staging: l.staging, Compression: t.how,
			Known: known, Size: t.volume.Size,
			Wrap: func(to io.Writer) io.Writer { return sinkWriter{to, r.watch, &l.away} }, Waiting: l.away.begin})
		if err != nil {
			return codec.Stored{}, err
		}
		stored, err := write(sinkStream{out})
		packs = out.Packs()
		return stored, err
	})
	if err == nil {
		l.addPacks(packs)
	}
	return err
}

// before returns the manifest of the point before this one in a leg, which is looked for once for
// all volumes of the item; nil if there is none, or it cannot be trusted.
func (r *attempt) before(ctx context.Context, l *leg) (*point.Manifest, error) {
	if l.looked {
		return l.before, nil
	}
	m, err := point.Previous(ctx, l.sink, r.dir)
	if errors.Is(err, point.ErrDamaged) || errors.Is(err, point.ErrNewer) {
		m, err = nil, nil
	}
	l.before, l.looked = m, err == nil
	return m, err
}

// addPacks enters the packs of a volume, but for those that another one has entered.
func (l *leg) addPacks(packs []events.Artifact) {
	for _, p := range packs {
		if !slices.ContainsFunc(l.artifacts, func(a events.Artifact) bool { return a.Key == p.Key }) {
			l.artifacts = append(l.artifacts, p)
		}
	}
}

// sinkStream marks errors as the sink's.
type sinkStream struct{ *pieces.Writer }

func (s sinkStream) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	return n, failure.FromSink(err)
}

func (s sinkStream) Finish() (codec.Stored, error) {
	stored, err := s.Writer.Finish()
	return stored, failure.FromSink(err)
}
