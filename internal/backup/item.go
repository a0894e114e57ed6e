package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// Backuper turns items into points. It may be used by several goroutines; the
// fields are not changed once it is in use.
type Backuper struct {
	Engine      Engine
	Locks       *Locks
	Compression point.Compression
	// HooksAllowed has the commands run that the labels of containers name.
	HooksAllowed bool
	// Version is the program's, for the manifest.
	Version string
	Log     *zap.Logger
}

// Task is one item of one attempt at one job.
type Task struct {
	Host string
	Job  string
	// Attempt is the delivery of the request, from 1.
	Attempt uint64
	Request point.Request
	Point   string // the point's id
	Item    events.PlannedItem
	Sink    sink.Sink
	Tags    map[string]string
	// Progress is told the bytes read from the Engine so far, the Engine's
	// estimate of their total, and the bytes stored. It must be quick.
	Progress func(step events.Step, read, total, stored int64)
}

// Result is an item that is stored durably.
type Result struct {
	Manifest *point.Manifest
	Dir      string // the point's folder in the sink
	// Hooks are the commands that were run inside the container; none for a point
	// that an earlier attempt stored.
	Hooks     []events.HookResult
	Durations events.Durations
}

// undoBound is how long the undoing of an item may take after the job's own
// context has ended.
const undoBound = 2 * time.Minute

// Run backs one item up, and returns when it is stored durably and nothing
// temporary is left. If the point is there already, because an earlier attempt
// stored it, that one is the result, and the Engine is not asked. An item that
// the plan says will fail does so at once; it needs no sink. An error is an
// *ItemError.
func (b *Backuper) Run(ctx context.Context, t Task) (*Result, error) {
	if t.Item.Code != "" {
		return nil, &ItemError{Step: events.StepPlan, Code: t.Item.Code, Err: errors.New(t.Item.Message)}
	}
	dir := point.Dir(t.Host, t.Item.Kind, t.Item.Name, t.Point)
	if stored, err := point.Read(ctx, t.Sink, dir); err == nil {
		return &Result{Manifest: stored, Dir: dir}, nil
	} else if !errors.Is(err, sink.ErrNotFound) {
		return nil, failed(ctx, events.StepInspect, sinkError(err), "look for point %s of %s %s", t.Point, t.Item.Kind, t.Item.Name)
	}
	about, err := b.Engine.About(ctx)
	if err != nil {
		return nil, failed(ctx, events.StepInspect, err, "ask the Engine what it is")
	}
	run := &itemRun{Backuper: b, Task: t, dir: dir, manifest: &point.Manifest{
		FormatVersion: point.FormatVersion,
		ID:            t.Point,
		Host:          t.Host,
		Item:          t.Item.Item,
		Job:           t.Job,
		Request:       t.Request,
		Attempt:       t.Attempt,
		Engine:        point.Engine{Version: about.Version, Store: about.Store},
		Artifacts:     []events.Artifact{},
		NotIncluded:   []events.NotIncluded{},
		Tags:          t.Tags,
		Holdfast:      b.Version,
	}}
	if t.Item.Kind == events.ItemImage {
		err = run.image(ctx)
	} else {
		err = run.container(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &Result{Manifest: run.manifest, Dir: dir, Durations: run.durations}, nil
}

// itemRun is one item on its way.
type itemRun struct {
	*Backuper
	Task
	dir       string
	manifest  *point.Manifest
	config    []byte // the container's inspect document
	begun     bool   // a snapshot may be there
	durations events.Durations
}

func (r *itemRun) image(ctx context.Context) error {
	done := measure(&r.durations.Inspect)
	img, err := r.Engine.InspectImage(ctx, r.Item.ID)
	done()
	if err != nil {
		return failed(ctx, events.StepInspect, err, "inspect image %s", r.Item.Name)
	}
	r.manifest.SnapshotTime = time.Now().UTC()
	r.manifest.Image.Reference = r.Item.Name
	return r.store(ctx, img)
}

func (r *itemRun) container(ctx context.Context) error {
	ref := r.snapshotRef()
	defer func() {
		if r.begun { // a commit that failed for us may have made the image all the same
			r.removeSnapshot(ctx, ref)
		}
	}()
	id, err := r.commit(ctx, ref)
	if err != nil {
		return err
	}
	img, err := r.Engine.InspectImage(ctx, id)
	if err != nil {
		return failed(ctx, events.StepSave, r.imageError(err), "inspect the snapshot of container %s", r.Item.Name)
	}
	return r.store(ctx, img)
}

// imageError is the Engine's error about the image that is saved. That a
// container's snapshot is gone does not mean that the container is.
func (r *itemRun) imageError(err error) error {
	if r.Item.Kind == events.ItemContainer && errors.Is(err, ErrNotFound) {
		return fmt.Errorf("somebody removed its snapshot: %v", err) //nolint:errorlint // hides ErrNotFound
	}
	return err
}

// snapshotRef is the name of this attempt's temporary image.
func (r *itemRun) snapshotRef() string {
	return fmt.Sprintf("%s:%s-%d", SnapshotRepository, r.Point, r.Attempt)
}

// store saves the image to the sink and publishes the point.
func (r *itemRun) store(ctx context.Context, img *ImageDetail) error {
	staging, err := r.Sink.Stage(ctx, r.dir, fmt.Sprint(r.Attempt))
	if err != nil {
		return failed(ctx, events.StepSave, sinkError(err), "store %s %s", r.Item.Kind, r.Item.Name)
	}
	defer func() {
		if err := staging.Discard(context.WithoutCancel(ctx)); err != nil {
			r.Log.Error("what was staged could not be removed", zap.String("point", r.Point), zap.Error(err))
		}
	}()
	done := measure(&r.durations.Save)
	err = r.save(ctx, staging, img)
	done()
	if err != nil {
		return failed(ctx, events.StepSave, err, "save %s %s", r.Item.Kind, r.Item.Name)
	}
	if r.config != nil {
		if err := r.saveConfig(ctx, staging); err != nil {
			return failed(ctx, events.StepSave, err, "store the configuration of container %s", r.Item.Name)
		}
	}
	defer measure(&r.durations.Publish)()
	r.manifest.StoredTime = time.Now().UTC()
	raw, err := r.manifest.Encode()
	if err != nil {
		return &ItemError{Step: events.StepPublish, Code: events.CodeInternal, Err: err}
	}
	r.Progress(events.StepPublish, 0, 0, 0)
	err = staging.Publish(ctx, raw)
	if errors.Is(err, sink.ErrExists) {
		// Another attempt at the same item was first, and its point counts.
		r.manifest, err = point.Read(ctx, r.Sink, r.dir)
	}
	if err != nil {
		return failed(ctx, events.StepPublish, sinkError(err), "publish the point of %s %s", r.Item.Kind, r.Item.Name)
	}
	return nil
}

// save streams the image's archive into the staging.
func (r *itemRun) save(ctx context.Context, staging sink.Staging, img *ImageDetail) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the Engine's stream if the sink's end broke first
	// A classic Engine stages for long before the first byte.
	r.Progress(events.StepSave, 0, img.Size, 0)
	archive, err := r.Engine.Save(ctx, img.ID)
	if err != nil {
		return r.imageError(err)
	}
	defer archive.Close()
	w, key, err := staging.Create(ctx, point.ImageArchive)
	if err != nil {
		return sinkError(err)
	}
	written, info, err := point.WriteArchive(sinkWriter{w}, archive, img.ID, r.Compression, func(read, stored int64) {
		r.Progress(events.StepSave, read, img.Size, stored)
	})
	if err != nil {
		cancel() // a sink over the network must not complete half an artifact
	}
	if cerr := w.Close(); err == nil && cerr != nil {
		err = sinkError(cerr)
	}
	if err != nil {
		return err
	}
	r.manifest.Image.ID = img.ID
	r.manifest.Image.ConfigDigest = info.ConfigDigest
	r.manifest.Image.Layers = info.Layers
	r.addArtifact(key, point.MediaTypeImageArchive, written)
	return nil
}

func (r *itemRun) saveConfig(ctx context.Context, staging sink.Staging) error {
	w, key, err := staging.Create(ctx, point.ContainerConfig)
	if err != nil {
		return sinkError(err)
	}
	written, err := point.WriteBytes(w, r.config)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return sinkError(err)
	}
	r.addArtifact(key, point.MediaTypeContainerConfig, written)
	return nil
}

func (r *itemRun) addArtifact(key, mediaType string, w point.Written) {
	r.manifest.Artifacts = append(r.manifest.Artifacts, events.Artifact{
		Key: key, MediaType: mediaType, Size: w.Size, Digest: w.Digest, UncompressedSize: w.UncompressedSize,
	})
}

// removeSnapshot removes the snapshot, also when the job was cancelled.
func (r *itemRun) removeSnapshot(ctx context.Context, ref string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoBound)
	defer cancel()
	defer measure(&r.durations.Remove)()
	if err := retry(ctx, func() error { return r.Engine.RemoveImage(ctx, ref) }); err != nil {
		r.Log.Error("the snapshot could not be removed", zap.String("container", r.Item.Name), zap.String("image", ref), zap.Error(err))
	}
}

// sinkWriter marks errors as the sink's.
type sinkWriter struct{ io.Writer }

func (w sinkWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, sinkError(err)
}

// measure adds the milliseconds until the returned function is called.
func measure(into *int64) func() {
	began := time.Now()
	return func() { *into += time.Since(began).Milliseconds() }
}
