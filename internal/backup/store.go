package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/transport"
)

// stage begins the point in its sinks, which shows whether it can be written.
func (r *attempt) stage(ctx context.Context) (err error) {
	return r.inLegs(ctx, func(ctx context.Context, l *leg) error {
		l.staged = true // also if that fails: the sink may be gone with it
		var expected int64
		if l.Expected != nil {
			expected = l.Expected(ctx, l.sink)
		}
		staging, err := sink.StageAtLeast(ctx, l.sink, r.dir, stagingName(r.Attempt), expected)
		if err != nil {
			return failure.At(events.StepSave, failure.FromSink(err), "store %s %s in sink %s", r.Item.Kind, r.Item.Name, l.Sink)
		}
		l.staging = staging
		step.At(ctx, step.Staged)
		return nil
	})
}

// store saves the image to the sink and publishes the point.
func (r *attempt) store(ctx context.Context, img *engine.ImageDetail) error {
	done := measure(&r.durations.Save)
	err := r.save(ctx, img)
	done()
	if err != nil {
		return failure.At(events.StepSave, err, "save %s %s", r.Item.Kind, r.Item.Name)
	}
	return r.complete(ctx)
}

// complete stores the documents and publishes the point.
func (r *attempt) complete(ctx context.Context) error {
	for _, d := range r.documents {
		if err := r.saveDocument(ctx, d); err != nil {
			return failure.At(events.StepSave, err, "store %s of %s %s", d.name, r.Item.Kind, r.Item.Name)
		}
	}
	step.At(ctx, step.Saved)
	return r.publish(ctx)
}

// document is what the Engine says of an item.
type document struct {
	name, mediaType string
	raw             []byte
}

// publish makes the point appear in its sinks, in one of them first: if another attempt was
// first there, its point counts, and is the one that the other sinks are to get.
func (r *attempt) publish(ctx context.Context) error {
	defer measure(&r.durations.Publish)()
	r.manifest.StoredTime = time.Now().UTC()
	r.progress(events.StepPublish, 0, 0, 0)
	r.keepResults()
	for !r.isStored() {
		first := r.live()[0]
		if err := r.inSome(ctx, []*leg{first}, r.publishIn, nil); err != nil {
			return err
		}
		if m := r.manifestIn(first); m != nil && m.Attempt != r.Attempt {
			return nil
		}
	}
	return r.inLegs(ctx, r.publishIn)
}

// keepResults keeps what the result says beside the manifest.
func (r *attempt) keepResults() {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.durations = r.durations
	if r.hooks != nil {
		r.shared.hooks = r.hooks.Results()
	}
}

// publishIn makes the point appear in a sink.
func (r *attempt) publishIn(ctx context.Context, l *leg) error {
	if r.manifestIn(l) != nil {
		return nil
	}
	first := !r.isStored()
	own := *r.manifest
	m := &own
	m.Artifacts = l.artifacts
	m.FormatVersion = versionOf(m)
	err := blob.Publish(ctx, l.sink, l.staging, m)
	if errors.Is(err, point.ErrUnwritable) {
		return &failure.Error{Step: events.StepPublish, Code: events.CodeInternal, Err: err}
	}
	if errors.Is(err, sink.ErrExists) && first {
		// Another attempt at the same item was first, and its point counts.
		m, err = point.ReadUnsealed(ctx, l.sink, r.dir)
	}
	if err != nil {
		return failure.At(events.StepPublish, failure.FromSink(err), "publish the point of %s %s", r.Item.Kind, r.Item.Name)
	}
	step.At(ctx, step.Published)
	if err := blob.Settle(ctx, l.sink, r.dir, m); err != nil {
		return failure.At(events.StepPublish, failure.FromSink(err), "publish the point of %s %s", r.Item.Kind, r.Item.Name)
	}
	r.stored(ctx, l, m)
	if first {
		r.tellBase(l)
	}
	return nil
}

// disk is where the Engine stages what it saves.
func (r *attempt) disk() transport.Disk {
	if r.Item.Kind == events.ItemImage {
		return transport.Disk{About: r.about, Image: r.Item.ID}
	}
	return transport.Disk{About: r.about, Container: r.Item.ID}
}

// base refuses a container that the Engine cannot commit, as its image is gone, or
// whose image alone the Engine has no room to stage, before it is touched. How large
// its snapshot is shows only later.
func (r *attempt) base(ctx context.Context) error {
	needsRoom := r.Transport.NeedsRoom(r.disk())
	if r.baseID == "" || !r.about.CommitNeedsBase && !needsRoom {
		return nil
	}
	img, err := r.Engine.InspectImage(ctx, r.baseID)
	if errors.Is(err, engine.ErrNotFound) && r.about.CommitNeedsBase {
		return failure.At(events.StepInspect, engine.BaseMissing(r.baseID), "container %s is not touched", r.Item.Name)
	}
	if err != nil || !needsRoom { // what else is wrong shows when the snapshot is saved
		return nil
	}
	release, _, err := r.Transport.Reserve(r.disk(), img.Size)
	if err != nil {
		return failure.At(events.StepInspect, err, "container %s is not touched", r.Item.Name)
	}
	release()
	return nil
}

// save moves the image into the staging.
func (r *attempt) save(ctx context.Context, img *engine.ImageDetail) error {
	moved, err := r.turn(ctx, img)
	if err != nil {
		return err
	}
	defer moved()
	if pushed, err := r.pushLayers(ctx, img, moved); pushed || err != nil {
		return err
	}
	release, doubt, err := r.Transport.Reserve(r.disk(), img.Size)
	if err != nil {
		return err
	}
	defer release()
	if doubt != "" {
		r.manifest.Warn(events.NewWarning(events.WarningEngineRoom, "%s", doubt))
	}
	// A classic Engine stages for long before the first byte.
	r.progress(events.StepSave, 0, img.Size, 0)
	return (&saving{attempt: r, img: img, staged: release, how: r.Transport.Compression}).run(ctx)
}

// archiveOverhead is what the archive of an empty image has at most, in bytes: its
// documents, and the padding of its entries.
const archiveOverhead = 64 << 20

// mostOf returns how many bytes the archive of something has at most, of which this many
// bytes are known, and 0 if nothing is known. The Engine counts what is in the files; the
// archive has a header and padding for each of them too, which is about as much where
// they are small.
func mostOf(size int64) int64 {
	if size <= 0 {
		return 0
	}
	return 2*size + archiveOverhead
}

func (r *attempt) saveDocument(ctx context.Context, d document) error {
	a := events.Artifact{MediaType: d.mediaType}
	return r.artifact(ctx, r.live(), d.name, int64(len(d.raw)), a, func(to codec.Destination) (codec.Stored, error) {
		out, err := codec.NewPlainWriter(to)
		if err != nil {
			return codec.Stored{}, err
		}
		if _, err := out.Write(d.raw); err != nil {
			return codec.Stored{}, err
		}
		return out.Finish()
	})
}

// artifact stores one artifact under this name in some of the sinks, and enters what is known of it
// by then: a, and what write wrote. If that fails, nothing of the artifact becomes durable.
func (r *attempt) artifact(
	ctx context.Context, legs []*leg, name string, most int64, a events.Artifact, write func(to codec.Destination) (codec.Stored, error),
) error {
	if len(legs) == 1 {
		return r.inOne(ctx, legs[0], func(ctx context.Context, l *leg) error {
			return r.artifactIn(ctx, l, name, most, a, write)
		})
	}
	return r.fanned(ctx, legs, name, most, a, write)
}

// artifactIn stores one artifact in a sink.
func (r *attempt) artifactIn(
	ctx context.Context, l *leg, name string, most int64, a events.Artifact, write func(to codec.Destination) (codec.Stored, error),
) error {
	var to codec.Destination
	if s := seal.Of(l.sink); s.Encrypts() {
		name, most = name+seal.Suffix, s.Most(most)
		a.Encryption, to.Encrypt = seal.Format, s.Encrypt
	}
	end := l.away.begin()
	w, key, err := l.staging.Create(ctx, name, most)
	end()
	if err != nil {
		return failure.FromSink(err)
	}
	defer func() { _ = w.Abort() }() // what it leaves is the attempt's to discard
	to.Writer = sinkWriter{w, r.watch, &l.away}
	stored, err := write(to)
	if err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return failure.FromSink(err)
	}
	a.Key, a.Size, a.Digest, a.UncompressedSize = key, stored.Size, stored.Digest, stored.UncompressedSize
	l.artifacts = append(l.artifacts, a)
	return nil
}

// fanned stores one artifact in several sinks, each at its own pace. What a sink does not
// encrypt is the same bytes in all of them.
func (r *attempt) fanned(
	ctx context.Context, legs []*leg, name string, most int64, a events.Artifact, write func(to codec.Destination) (codec.Stored, error),
) error {
	var clear codec.Stored // what is stored in clear; known when the stream has ended
	return r.fan(ctx, legs, func(ctx context.Context, l *leg, branch *codec.Branch) error {
		return r.artifactIn(ctx, l, name, most, a, func(to codec.Destination) (codec.Stored, error) {
			if to.Encrypt == nil {
				if _, err := branch.WriteTo(to); err != nil {
					return codec.Stored{}, err
				}
				return clear, nil
			}
			out, err := codec.NewPlainWriter(to)
			if err != nil {
				return codec.Stored{}, err
			}
			stored, err := drain(branch, out)
			if err == nil {
				stored.UncompressedSize = clear.UncompressedSize // the stream has ended
			}
			return stored, err
		})
	}, func(fan io.Writer) (err error) {
		clear, err = write(codec.Destination{Writer: fan})
		return err
	})
}

// drain has a stream take what comes out of a branch, and ends it.
func drain(branch *codec.Branch, out transport.Stream) (codec.Stored, error) {
	if _, err := branch.WriteTo(out); err != nil {
		out.Abort()
		return codec.Stored{}, err
	}
	return out.Finish()
}

// errPanic is how a stream ends in whose midst there was a panic.
var errPanic = errors.New("the stream broke off")

// fan has what work writes taken by several sinks, each at its own pace.
func (r *attempt) fan(
	ctx context.Context, legs []*leg, take func(ctx context.Context, l *leg, branch *codec.Branch) error, work func(fan io.Writer) error,
) error {
	fan := codec.NewFan(ctx.Done(), patience)
	branches := map[*leg]*codec.Branch{}
	for _, l := range legs {
		branches[l] = fan.Branch(l.waited, l.away.total, func() { r.drop(ctx, l, errSlow) })
	}
	err := r.inSome(ctx, legs, func(ctx context.Context, l *leg) error {
		branch := branches[l]
		defer branch.Leave()
		return take(ctx, l, branch)
	}, func() error {
		err := errPanic
		defer func() { fan.End(err) }()
		err = work(fan)
		return err
	})
	for l, branch := range branches {
		l.waited = branch.Waited()
	}
	return err
}

// outs are what stores the same in several sinks. It may be used by several goroutines.
type outs struct {
	mu  sync.Mutex
	all []storing
}

// storing is what stores something in a sink.
type storing interface{ StoredBytes() int64 }

func (o *outs) add(one storing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, one)
}

// StoredBytes is that of the one that has stored most.
func (o *outs) StoredBytes() (most int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.all {
		most = max(most, one.StoredBytes())
	}
	return most
}

// imageError is the Engine's error about the image that is saved. That a
// container's snapshot is gone does not mean that the container is.
func (r *attempt) imageError(err error) error {
	if r.Item.Kind == events.ItemContainer && errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("somebody removed its snapshot: %v", err) //nolint:errorlint // hides ErrNotFound
	}
	return err
}

// sinkWriter marks errors as the sink's. What it writes is progress: much may wait
// for the sink when the last byte has been read.
type sinkWriter struct {
	io.Writer
	watch *stall.Watchdog
	away  *clock // how long was waited for the sink
}

func (w sinkWriter) Write(p []byte) (int, error) {
	defer w.away.begin()()
	n, err := w.Writer.Write(p)
	w.watch.Kick()
	return n, failure.FromSink(err)
}
