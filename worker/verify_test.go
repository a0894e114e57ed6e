package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
	"holdfast.io/holdfast/internal/undo"
)

// verify checks what must hold after any fault, once the jobs have ended. It
// waits for what is still to be undone, and fails the test with each thing that
// is wrong at the end of its patience.
func (w *world) verify(jobs ...string) {
	w.t.Helper()
	w.ended(jobs...)
	var wrong []error
	for deadline := time.Now().Add(worldPatience); ; time.Sleep(100 * time.Millisecond) {
		if wrong = w.wrong(w.t.Context(), jobs); len(wrong) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for _, err := range wrong {
		w.t.Error(err)
	}
}

// worldChecks are what must hold. Each reports everything that is wrong.
var worldChecks = []func(w *world, ctx context.Context, jobs []string) error{
	(*world).checkEnds,
	(*world).checkContents,
	(*world).checkReports,
	(*world).checkPoints,
	(*world).checkStaging,
	(*world).checkRecords,
	(*world).checkRequests,
	(*world).checkImages,
	(*world).checkHelpers,
	(*world).checkContainers,
}

// wrong returns what does not hold at the moment.
func (w *world) wrong(ctx context.Context, jobs []string) []error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	wrong := []error{w.read(ctx)}
	if w.registry != nil {
		wrong = append(wrong, w.registry.mirror(ctx, w.sink), w.registry.checkSnapshots())
	}
	for _, check := range worldChecks {
		wrong = append(wrong, check(w, ctx, jobs))
	}
	return slices.DeleteFunc(wrong, func(err error) bool { return err == nil })
}

// checkEnds: each job has exactly one terminal event id.
func (w *world) checkEnds(_ context.Context, jobs []string) (wrong error) {
	for _, job := range jobs {
		ids := map[string]bool{}
		for _, ev := range w.stored {
			if ev.job() == job && events.Terminal(ev.Type()) {
				ids[ev.ID()] = true
			}
		}
		if len(ids) != 1 {
			wrong = errors.Join(wrong, fmt.Errorf("job %s has %d terminal event ids, not one", job, len(ids)))
		}
	}
	return wrong
}

// checkContents: what was published more than once is the same word for word.
func (w *world) checkContents(context.Context, []string) (wrong error) {
	first := map[string]storedEvent{}
	for _, ev := range w.stored {
		before, again := first[ev.ID()]
		if !again {
			first[ev.ID()] = ev
		} else if ev.content != before.content {
			wrong = errors.Join(wrong, fmt.Errorf("event %s has two contents, at %d and %d:\n%s\n%s",
				ev.ID(), before.sequence, ev.sequence, before.content, ev.content))
		}
	}
	return wrong
}

// checkReports: a point that was reported is there, and its artifacts are what was said;
// a container that was restored is there, until another restore has replaced it, and what
// it replaced is not; and the terminal event names no other.
func (w *world) checkReports(ctx context.Context, jobs []string) (wrong error) {
	reported := map[string]bool{} // by the job's id and the point's
	var ends []storedEvent
	for _, ev := range w.stored {
		switch {
		case !slices.Contains(jobs, ev.job()):
		case ev.Type() == events.Backup.ResultType(events.ResultItemCompleted):
			var data events.BackupItemCompleted
			err := json.Unmarshal(ev.Data(), &data)
			if err == nil {
				reported[data.Job+data.Point] = true
				err = w.checkReport(&data)
			}
			if err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("event %s reports what is not so: %w", ev.ID(), err))
			}
		case ev.Type() == events.Prune.ResultType(events.ResultItemCompleted):
			var data events.PruneItemCompleted
			err := json.Unmarshal(ev.Data(), &data)
			if err == nil {
				reported[data.Job+data.Point] = true
				err = w.checkRemoval(&data)
			}
			if err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("event %s reports what is not so: %w", ev.ID(), err))
			}
		case ev.Type() == events.Verify.ResultType(events.ResultItemCompleted):
			var data events.VerifyItemCompleted
			err := json.Unmarshal(ev.Data(), &data)
			if err == nil {
				reported[data.Job+data.Point] = true
				_, err = w.manifest(data.Path)
			}
			if err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("event %s reports what is not so: %w", ev.ID(), err))
			}
		case ev.Type() == events.Copy.ResultType(events.ResultItemCompleted):
			var data events.CopyItemCompleted
			err := json.Unmarshal(ev.Data(), &data)
			if err == nil {
				reported[data.Job+data.Point] = true
				err = w.checkCopy(&data)
			}
			if err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("event %s reports what is not so: %w", ev.ID(), err))
			}
		case ev.Type() == events.Restore.ResultType(events.ResultItemCompleted):
			var data events.RestoreItemCompleted
			err := json.Unmarshal(ev.Data(), &data)
			if err == nil {
				reported[data.Job+data.Point] = true
				err = w.checkRestored(ctx, &data)
			}
			if err != nil {
				wrong = errors.Join(wrong, fmt.Errorf("event %s reports what is not so: %w", ev.ID(), err))
			}
		case events.Terminal(ev.Type()):
			ends = append(ends, ev)
		}
	}
	for _, ev := range ends {
		var data events.Ended
		_ = json.Unmarshal(ev.Data(), &data) // another type has no items
		for _, item := range data.Items {
			if item.Status == events.OutcomeCompleted && !reported[data.Job+item.Point] {
				wrong = errors.Join(wrong, fmt.Errorf("job %s ended with the point %q, which no event reports", data.Job, item.Point))
			}
		}
	}
	return wrong
}

func (w *world) checkReport(data *events.BackupItemCompleted) error {
	in := map[string]string{"default": w.sink, "offsite": w.offsite}[data.Sink]
	m, err := manifestIn(in, data.Path)
	if err != nil {
		return err
	}
	if m.ID != data.Point || m.Job != data.Job || m.Item != data.Item {
		return fmt.Errorf("point %s of %v for job %s is %s of %v for job %s", data.Point, data.Item, data.Job, m.ID, m.Item, m.Job)
	}
	if !slices.Equal(m.Artifacts, data.Artifacts) {
		return fmt.Errorf("point %s was reported with the artifacts %v, and has %v", data.Point, data.Artifacts, m.Artifacts)
	}
	return w.checkArtifacts(in, data.Artifacts)
}

// checkRestored looks for what a restore made, and for what it replaced.
func (w *world) checkRestored(ctx context.Context, data *events.RestoreItemCompleted) (wrong error) {
	replaced := map[string]bool{} // by any restore
	for _, ev := range w.stored {
		var other events.RestoreItemCompleted
		if ev.Type() == events.Restore.ResultType(events.ResultItemCompleted) && json.Unmarshal(ev.Data(), &other) == nil {
			for _, c := range exchanges(&other) {
				replaced[c.Replaced] = true
			}
		}
	}
	for _, c := range exchanges(data) {
		if _, err := w.engine.API().ContainerInspect(ctx, c.ID); err != nil && !replaced[c.ID] {
			wrong = errors.Join(wrong, err)
		}
		if c.Replaced == "" {
			continue
		}
		switch _, err := w.engine.API().ContainerInspect(ctx, c.Replaced); {
		case err == nil:
			wrong = errors.Join(wrong, fmt.Errorf("container %s was replaced by %s, and is still there", c.Replaced, c.ID))
		case !errdefs.IsNotFound(err):
			wrong = errors.Join(wrong, err)
		}
	}
	return wrong
}

// exchanges are the containers that a restore made, with those in whose places they are.
func exchanges(data *events.RestoreItemCompleted) []events.RecreatedDependant {
	return append([]events.RecreatedDependant{{ID: data.Container.ID, Name: data.Container.Name, Replaced: data.Replaced}}, data.Dependants...)
}

func (w *world) manifest(dir string) (*point.Manifest, error) { return manifestIn(w.sink, dir) }

func manifestIn(in, dir string) (*point.Manifest, error) {
	raw, err := os.ReadFile(filepath.Join(in, dir, sink.ManifestName))
	if err != nil {
		return nil, err
	}
	return point.Decode(raw)
}

// artifacts is the size and the digest of a file.
type artifacts struct {
	size   int64
	digest string
}

func (w *world) checkArtifacts(in string, want []events.Artifact) (wrong error) {
	for _, a := range want {
		got, err := w.artifact(filepath.Join(in, a.Key))
		if err == nil && got != (artifacts{a.Size, a.Digest}) {
			err = fmt.Errorf("%s is %v, not %d bytes of %s", a.Key, got, a.Size, a.Digest)
		}
		wrong = errors.Join(wrong, err)
	}
	return wrong
}

// artifact reads a file, once as long as it is not touched.
func (w *world) artifact(path string) (artifacts, error) {
	f, err := os.Open(path)
	if err != nil {
		return artifacts{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return artifacts{}, err
	}
	key := fmt.Sprint(path, info.Size(), info.ModTime())
	if a, ok := w.digests[key]; ok {
		return a, nil
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	a := artifacts{n, fmt.Sprintf("sha256:%x", h.Sum(nil))}
	if err == nil {
		w.digests[key] = a
	}
	return a, err
}

// checkPoints: whatever lies where points lie is a complete point.
func (w *world) checkPoints(context.Context, []string) error {
	return errors.Join(w.checkPointsIn(w.sink), w.checkPointsIn(w.offsite))
}

func (w *world) checkPointsIn(in string) (wrong error) {
	dirs, err := filepath.Glob(filepath.Join(in, "points", "*", "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		m, err := manifestIn(in, strings.TrimPrefix(dir, in))
		if err == nil {
			err = w.checkArtifacts(in, m.Artifacts)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("the sink has a point that is not complete, in %s: %w", dir, err))
		}
	}
	return wrong
}

// checkStaging: nothing is staged in the sinks.
func (w *world) checkStaging(context.Context, []string) error {
	return errors.Join(checkStagingIn(w.sink, w.bucket, "the sink"), checkStagingIn(w.offsite, w.offsiteBucket, "the sink that is copied to"))
}

func checkStagingIn(in string, bucket *s3test.Server, which string) error {
	if bucket != nil {
		return checkBucket(in, bucket)
	}
	return empty(filepath.Join(in, "staging"), which+" has something staged")
}

// checkBucket: whatever lies in the bucket of a sink is the sink's own, or of a point, and no upload is
// unfinished.
func checkBucket(in string, bucket *s3test.Server) error {
	known := map[string]bool{filepath.Join(in, sink.IdentityName): true}
	manifests, err := filepath.Glob(filepath.Join(in, "points", "*", "*", "*", "*", sink.ManifestName))
	if err != nil {
		return err
	}
	for _, path := range manifests {
		dir := filepath.Dir(path)
		m, err := manifestIn(in, strings.TrimPrefix(dir, in))
		if err != nil {
			return err
		}
		known[path], known[filepath.Join(in, m.Signature)] = true, true
		for _, mark := range sink.MarkNames {
			known[filepath.Join(dir, mark)] = true
		}
		for _, a := range m.Artifacts {
			known[filepath.Join(in, a.Key)] = true
		}
	}
	return filepath.WalkDir(filepath.Join(bucket.Dir, s3test.Bucket), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !known[path] {
			err = fmt.Errorf("%s is left in the bucket", path)
		}
		return err
	})
}

// commitWindow is how long after its record an unobserved commit may still produce an
// image: the Engine completes what a client began that is gone.
const commitWindow = 10 * time.Minute

// checkRecords: no worker that lives has a record of something that is still to be
// undone. Only the image of an unobserved commit may be waited for, which is seen by
// nothing else.
func (w *world) checkRecords(context.Context, []string) (wrong error) {
	for dir, p := range w.workers {
		if processState(p.Process.Pid) == 0 {
			continue // what it left is with the one that took over
		}
		records, err := filepath.Glob(filepath.Join(dir, "undo", "*"))
		for _, path := range records {
			if !waitsForImage(path) {
				err = errors.Join(err, fmt.Errorf("a worker has something to be undone: %s", path))
			}
		}
		wrong = errors.Join(wrong, err)
	}
	return wrong
}

// waitsForImage reports whether a record is of a commit whose image may still come,
// and of nothing else.
func waitsForImage(path string) bool {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	r, err := undo.Decode(raw)
	if err != nil || time.Since(r.Time) >= commitWindow {
		return false
	}
	return slices.ContainsFunc(r.Actions, func(a undo.Action) bool { return a.RemoveImage != nil && !a.RemoveImage.Committed })
}

func empty(dir, otherwise string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: %s has %v", otherwise, dir, entries)
	}
	return nil
}

// checkRequests: no request of the host is left.
func (w *world) checkRequests(ctx context.Context, _ []string) error {
	stream, err := w.js.Stream(ctx, events.StreamRequests)
	if err != nil {
		return fmt.Errorf("look for requests: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("holdfast.req.*.host."+w.host))
	if err != nil {
		return fmt.Errorf("look for requests: %w", err)
	}
	if len(info.State.Subjects) > 0 {
		return fmt.Errorf("requests were not acknowledged: %v", info.State.Subjects)
	}
	return nil
}

// checkImages: no snapshot is left, under a name or without. A commit keeps the
// container's labels in the image.
func (w *world) checkImages(ctx context.Context, _ []string) (wrong error) {
	list, err := w.engine.API().ImageList(ctx, image.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	for _, img := range list {
		pulled := slices.ContainsFunc(w.registries, func(prefix string) bool {
			return slices.ContainsFunc(img.RepoTags, func(ref string) bool { return strings.HasPrefix(ref, prefix) })
		})
		if img.Labels[testLabel] != w.host && !pulled || slices.Contains(img.RepoTags, w.image) {
			continue
		}
		if len(img.RepoTags) == 1 && strings.HasPrefix(img.RepoTags[0], "holdfast/restored:") {
			continue // a restored container is made from it
		}
		wrong = errors.Join(wrong, fmt.Errorf("a snapshot is left on the Engine: %v %s", img.RepoTags, img.ID))
	}
	return wrong
}

// checkHelpers: no container is left that a job made for itself, or that has one of the
// world's volumes.
func (w *world) checkHelpers(ctx context.Context, jobs []string) (wrong error) {
	list, err := w.engine.API().ContainerList(ctx,
		container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", engine.HelperLabel))})
	if err != nil {
		return fmt.Errorf("look for containers of ours: %w", err)
	}
	for _, c := range list {
		ours := slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return strings.HasPrefix(m.Name, w.host) }) ||
			slices.ContainsFunc(jobs, func(job string) bool { return strings.Contains(c.Labels[engine.HelperLabel], job) })
		if ours {
			wrong = errors.Join(wrong, fmt.Errorf("a container of ours is left on the Engine: %v, %s", c.Names, c.State))
		}
	}
	return wrong
}

// checkContainers: every container is in the state that it must be in, and one
// that runs goes on with what it does.
func (w *world) checkContainers(ctx context.Context, _ []string) (wrong error) {
	for name, b := range w.busy {
		if err := w.checkContainer(ctx, b); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("container %s %w", name, err))
		}
	}
	return wrong
}

func (w *world) checkContainer(ctx context.Context, b *busy) error {
	c, err := w.engine.API().ContainerInspect(ctx, b.id)
	if err != nil {
		return fmt.Errorf("cannot be looked at: %w", err)
	}
	if events.State(c.State.Status) != b.state {
		return fmt.Errorf("is %s, not %s", c.State.Status, b.state)
	}
	if b.state != events.StateRunning {
		return nil
	}
	before := b.lines
	if b.lines, err = w.engine.Lines(ctx, b.id); err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	// The first look has nothing to compare with; the next one has.
	if before == 0 || b.lines <= before {
		return fmt.Errorf("does not go on: it had written %d lines, and then %d", before, b.lines)
	}
	return nil
}
