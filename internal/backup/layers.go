package backup

import (
	"context"
	"errors"
	"io"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/step"
)

// isLayered reports whether the image lies in layers in a leg.
func isLayered(l *leg) bool { return layered.Is(l.sink) }

// beginLayers finds out which layers of the image the sinks have that store it so, unless that is
// known. It takes time, for which no stream waits.
func (r *attempt) beginLayers(ctx context.Context, img *engine.ImageDetail) error {
	how := r.Transport.Compression
	how.Streams = len(r.live())
	return r.inLegs(ctx, func(ctx context.Context, l *leg) (err error) {
		if isLayered(l) && l.writer == nil {
			l.writer, err = r.layerWriter(ctx, l, img, how)
		}
		return err
	})
}

// layerWriter returns what stores the layers of an image in a sink, once it knows which of them are
// there.
func (r *attempt) layerWriter(ctx context.Context, l *leg, img *engine.ImageDetail, how codec.Compression) (*image.Writer, error) {
	w := &image.Writer{Sink: l.sink, Staging: l.staging, Compression: how, Most: mostOf(img.Size),
		Wrap: func(to io.Writer) io.Writer { return sinkWriter{to, r.watch, &l.away} }, Waiting: l.away.begin}
	return w, failure.FromSink(w.Begin(ctx, img.DiffIDs))
}

// stepped tells of each layer that has ended.
type stepped struct {
	*image.Writer
	ctx context.Context //nolint:containedctx // of the one image
}

// Next implements [archive.Layers].
func (s stepped) Next(digest string, size int64) (archive.Layer, error) {
	l, err := s.Writer.Next(digest, size)
	return steppedLayer{l, s.ctx}, failure.FromSink(err)
}

type steppedLayer struct {
	archive.Layer
	ctx context.Context //nolint:containedctx // of the one image
}

// End implements [archive.Layer].
func (l steppedLayer) End(diffID string) error {
	if err := l.Layer.End(diffID); err != nil {
		if errors.Is(err, image.ErrMistaken) {
			return err
		}
		return failure.FromSink(err)
	}
	step.At(l.ctx, step.LayerStored)
	return nil
}

// imageIs enters which image was stored.
func (r *attempt) imageIs(img *engine.ImageDetail, info *archive.Info) {
	r.manifest.Image.ID = img.ID
	r.manifest.Image.ConfigDigest = info.ConfigDigest
	r.manifest.Image.Layers = len(info.DiffIDs)
}

// versionOf returns the version of a manifest whose artifacts are known.
func versionOf(m *point.Manifest) int {
	switch {
	case slices.ContainsFunc(m.Artifacts, func(a events.Artifact) bool { return point.IsPushed(&a) }):
		return point.PushedVersion
	case m.Artifact(point.MediaTypePieces) != nil:
		return point.PiecesVersion
	case len(m.Shared()) > 0:
		return point.LayeredVersion
	}
	return m.FormatVersion
}
