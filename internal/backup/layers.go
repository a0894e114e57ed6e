package backup

import (
	"context"
	"errors"
	"io"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/step"
)

// isLayered reports whether the image lies in layers in a leg.
func isLayered(l *leg) bool { return layered.Is(l.sink) }

// saveLayers stores the layers of the image in the sinks of the layered format, one sink
// after the other.
func (r *attempt) saveLayers(ctx context.Context, img *engine.ImageDetail, reserved func()) error {
	for _, l := range r.live() {
		if !isLayered(l) {
			continue
		}
		err := r.inOne(ctx, l, func(ctx context.Context, l *leg) error {
			err := r.saveLayersIn(ctx, l, img, reserved, false)
			if errors.Is(err, image.ErrReordered) {
				err = r.saveLayersIn(ctx, l, img, reserved, true)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// saveLayersIn stores the layers of the image that a sink does not have. With blind set
// it reads and compresses all of them.
func (r *attempt) saveLayersIn(ctx context.Context, l *leg, img *engine.ImageDetail, reserved func(), blind bool) error {
	w := &image.Writer{Sink: l.sink, Staging: l.staging, Compression: r.Transport.Compression, Most: mostOf(img.Size), Blind: blind,
		Wrap: func(to io.Writer) io.Writer { return sinkWriter{to, r.watch} }}
	if err := w.Begin(ctx, img.DiffIDs); err != nil {
		return failure.FromSink(err)
	}
	info, err := r.Transport.Split(ctx, img.ID, stepped{w, ctx}, func(read int64) {
		reserved()
		r.progress(events.StepSave, read, img.Size, w.StoredBytes())
	})
	if err != nil {
		return r.imageError(err)
	}
	artifacts, err := w.Finish(info)
	if err != nil {
		return failure.FromSink(err)
	}
	l.artifacts = append(l.artifacts, artifacts...)
	r.imageIs(img, info)
	return nil
}

// stepped tells of each layer that has ended.
type stepped struct {
	*image.Writer
	ctx context.Context //nolint:containedctx // of the one image
}

// Next implements [archive.Layers].
func (s stepped) Next(digest string) (archive.Layer, error) {
	l, err := s.Writer.Next(digest)
	return steppedLayer{l, s.ctx}, failure.FromSink(err)
}

type steppedLayer struct {
	archive.Layer
	ctx context.Context //nolint:containedctx // of the one image
}

// End implements [archive.Layer].
func (l steppedLayer) End(diffID string) error {
	if err := l.Layer.End(diffID); err != nil {
		if errors.Is(err, image.ErrReordered) {
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

// hasBlobs reports whether some of the artifacts are shared by points.
func hasBlobs(artifacts []events.Artifact) bool {
	return slices.ContainsFunc(artifacts, func(a events.Artifact) bool { return point.IsShared(&a) })
}
