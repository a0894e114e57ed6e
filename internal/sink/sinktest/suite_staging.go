package sinktest

import (
	"context"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

var artifactTests = map[string]func(*fixture){
	"an artifact has the bytes that were written, whatever their number": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		contents := map[string]string{
			"empty": "", "one": "x", "binary": "\x00\xff\r\n", "large": strings.Repeat("0123456789abcdef!", 1<<20),
		}
		keys := map[string]string{}
		for name, content := range contents {
			keys[name] = f.write(staging, name, content)
		}
		f.must(staging.Publish(f.Context(), []byte("{}")))
		for name, content := range contents {
			f.holds(f.sink, keys[name], content)
		}
	},
	"an artifact is written by many small writes": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		w, key, err := staging.Create(f.Context(), "image.tar.zst", 0)
		f.must(err)
		for i := range 1000 {
			n, err := w.Write([]byte("abcdef")[:i%7])
			f.must(err)
			if n != i%7 {
				f.Fatalf("%d of %d bytes were written, without an error", n, i%7)
			}
		}
		f.must(w.Commit())
		f.must(staging.Publish(f.Context(), []byte("{}")))
		var want strings.Builder
		for i := range 1000 {
			want.WriteString("abcdef"[:i%7])
		}
		f.holds(f.sink, key, want.String())
	},
	"a name is used once": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		key := f.write(staging, "image.tar.zst", "first")
		if _, err := write(f.Context(), staging, "image.tar.zst", "second"); err == nil {
			f.Error("the name was given twice")
		}
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.holds(f.sink, key, "first")
	},
	"the manifest is no artifact": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		if _, _, err := staging.Create(f.Context(), sink.ManifestName, 0); err == nil {
			f.Error("an artifact may be the manifest")
		}
	},
}

var abortTests = map[string]func(*fixture){
	"what was aborted is no part of the point": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		w, aborted, err := staging.Create(f.Context(), "volumes/a.tar.zst", 0)
		f.must(err)
		_, err = w.Write([]byte("half"))
		f.must(err)
		f.must(w.Abort())
		broken := f.breakArtifact(staging, "volumes/b.tar.zst")
		f.must(broken.Abort())
		key := f.write(staging, "image.tar.zst", "image")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.lacks(f.sink, aborted)
		f.holds(f.sink, key, "image")
		for name, content := range f.Contents(f.T) {
			if content == "half" {
				f.Errorf("%s was aborted and is left", name)
			}
		}
	},
	"the name of what was aborted may be used again": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.must(f.breakArtifact(staging, "image.tar.zst").Abort())
		key := f.write(staging, "image.tar.zst", "the second time")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.holds(f.sink, key, "the second time")
	},
	"an artifact ends once": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		kept, key, err := staging.Create(f.Context(), "image.tar.zst", 0)
		f.must(err)
		_, err = kept.Write([]byte("image"))
		f.must(err)
		f.must(kept.Commit())
		f.must(kept.Abort()) // does nothing
		gone, _, err := staging.Create(f.Context(), "volumes/a.tar.zst", 0)
		f.must(err)
		f.must(gone.Abort())
		f.must(gone.Abort())
		for name, w := range map[string]sink.Writer{"committed": kept, "aborted": gone} {
			if _, err := w.Write([]byte("late")); err == nil {
				f.Errorf("something was written to what was %s", name)
			}
			if err := w.Commit(); err == nil {
				f.Errorf("what was %s was committed", name)
			}
		}
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.holds(f.sink, key, "image")
	},
}

var publishTests = map[string]func(*fixture){
	"the first manifest wins": func(f *fixture) {
		winner, loser := f.stage(f.sink, aPoint, "1"), f.stage(f.Open(f.T), aPoint, "2")
		f.write(loser, "image.tar.zst", "of the loser")
		f.write(loser, "volumes/data.tar.zst", "volume of the loser")
		key := f.write(winner, "image.tar.zst", "of the winner")
		f.must(winner.Publish(f.Context(), []byte(`"winner"`)))
		f.reports("publish", loser.Publish(f.Context(), []byte(`"loser"`)), sink.ErrExists)
		f.must(loser.Discard(f.Context()))
		f.must(winner.Discard(f.Context()))
		f.holds(f.sink, manifestOf(aPoint), `"winner"`)
		f.holds(f.sink, key, "of the winner")
		for name, content := range f.Contents(f.T) {
			if strings.Contains(content, "loser") {
				f.Errorf("%s of the loser is left", name)
			}
		}
	},
	"a point that is there is not changed by a later attempt": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		late := f.stage(f.sink, aPoint, "2")
		f.write(late, "other.tar.zst", "late")
		f.reports("publish", late.Publish(f.Context(), []byte("late")), sink.ErrExists)
		f.must(late.Discard(f.Context()))
		f.unchanged(before)
	},
	"an artifact that was not committed is not published": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		w, _, err := staging.Create(f.Context(), "image.tar.zst", 0)
		f.must(err)
		if err := staging.Publish(f.Context(), []byte("{}")); err == nil {
			f.Error("the point was published with an open artifact")
		}
		f.must(w.Commit())
		f.lacks(f.sink, manifestOf(aPoint))
	},
	"an artifact that broke is not published": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		w := f.breakArtifact(staging, "image.tar.zst")
		defer func() { f.must(w.Abort()) }()
		if err := staging.Publish(f.Context(), []byte("{}")); err == nil {
			f.Error("the point was published with a broken artifact")
		}
		f.lacks(f.sink, manifestOf(aPoint))
	},
	"only discard follows publish": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		before := f.Contents(f.T)
		if _, _, err := staging.Create(f.Context(), "late.tar.zst", 0); err == nil {
			f.Error("an artifact was created in a point that is published")
		}
		if err := staging.Publish(f.Context(), []byte("late")); err == nil {
			f.Error("the point was published again")
		}
		f.unchanged(before)
	},
}

// breakArtifact writes an artifact whose context ends on the way, which is how
// every sink can be made to fail.
func (f *fixture) breakArtifact(staging sink.Staging, name string) sink.Writer {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	w, _, err := staging.Create(ctx, name, 0)
	f.must(err)
	_, err = w.Write([]byte("half"))
	f.must(err)
	cancel()
	_, err = w.Write([]byte("the other half"))
	f.reports("write", err, context.Canceled)
	f.reports("commit", w.Commit(), context.Canceled)
	f.reports("commit again", w.Commit(), context.Canceled)
	return w
}

var discardTests = map[string]func(*fixture){
	"discard removes everything that was written": func(f *fixture) {
		f.store(pointOf("web01", "other", "i"), "1", "{}", "other")
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "image")
		f.write(staging, "volumes/data.tar.zst", "volume")
		defer f.breakArtifact(staging, "volumes/broken.tar.zst").Abort() //nolint:errcheck // it comes too late
		f.must(staging.Discard(f.Context()))
		f.unchanged(before)
	},
	"discard removes what was not committed": func(f *fixture) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		w, _, err := staging.Create(f.Context(), "image.tar.zst", 0)
		f.must(err)
		_, err = w.Write([]byte("half"))
		f.must(err)
		f.must(staging.Discard(f.Context()))
		if err := w.Commit(); err == nil {
			f.Error("an artifact was committed after discard")
		}
		f.must(w.Abort())
		f.unchanged(before)
	},
	"discard does nothing after publish": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "image")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		before := f.Contents(f.T)
		f.must(staging.Discard(f.Context()))
		f.unchanged(before)
	},
	"discard may be called again": func(f *fixture) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "image")
		for range 3 {
			f.must(staging.Discard(f.Context()))
		}
		f.unchanged(before)
	},
	"discard ignores that ctx has ended": func(f *fixture) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "image")
		f.must(staging.Discard(cancelled()))
		f.unchanged(before)
	},
	"nothing follows discard": func(f *fixture) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		f.must(staging.Discard(f.Context()))
		if _, _, err := staging.Create(f.Context(), "late.tar.zst", 0); err == nil {
			f.Error("an artifact was created after discard")
		}
		if err := staging.Publish(f.Context(), []byte("late")); err == nil {
			f.Error("the point was published after discard")
		}
		f.unchanged(before)
	},
}

var unstageTests = map[string]func(*fixture){
	"unstage removes what a dead process left": func(f *fixture) {
		before := f.Contents(f.T)
		dead := f.stage(f.Open(f.T), aPoint, "1")
		f.write(dead, "image.tar.zst", "image")
		f.write(dead, "volumes/a.tar.zst", "volume")
		f.write(dead, "volumes/b.tar.zst", "another volume")
		for range 2 { // there is nothing the second time
			f.must(f.sink.Unstage(f.Context(), aPoint, "1"))
			f.unchanged(before)
		}
		f.store(aPoint, "1", "{}", "of the next one")
	},
	"unstage removes nothing else": func(f *fixture) {
		other := pointOf("web01", "other", "i")
		for _, attempt := range []struct{ dir, name string }{{aPoint, "2"}, {aPoint, "11"}, {other, "1"}} {
			f.write(f.stage(f.sink, attempt.dir, attempt.name), "image.tar.zst", attempt.name)
		}
		f.store(pointOf("web01", "stored", "i"), "1", "{}", "stored")
		before := f.Contents(f.T)
		f.must(f.sink.Unstage(f.Context(), aPoint, "1"))
		f.unchanged(before)
	},
	"unstage leaves a point that the attempt published": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.must(staging.Publish(f.Context(), naming(f.write(staging, "image.tar.zst", "image"))))
		before := f.Contents(f.T)
		f.must(f.Open(f.T).Unstage(f.Context(), aPoint, "1"))
		f.unchanged(before)
	},
	"unstage of a sink without attempts": func(f *fixture) {
		before := f.Contents(f.T)
		f.must(f.sink.Unstage(f.Context(), aPoint, "1"))
		f.unchanged(before)
	},
	"an attempt that was removed is not published": func(f *fixture) {
		zombie := f.stage(f.Open(f.T), aPoint, "1")
		key := f.write(zombie, "image.tar.zst", "of the zombie")
		f.must(f.sink.Unstage(f.Context(), aPoint, "1"))
		f.reports("publish", zombie.Publish(f.Context(), naming(key)), sink.ErrUnavailable)
		f.lacks(f.sink, manifestOf(aPoint))
	},
}

// cancelled returns a context that has ended.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
