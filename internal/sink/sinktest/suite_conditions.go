package sinktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

var badKeys = []string{
	"", ".", "..", "/", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a/.", "a//b", "a/", "a\x00b", `a\b`, "a\xffb",
	strings.Repeat("x", 256), "a/" + strings.Repeat("x", 256) + "/b",
}

var keyTests = map[string]func(*fixture){
	"a key to nothing is not found": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		for _, key := range []string{
			"x", "points/x", "points/web01/container/web-1/none/manifest.json", aPoint + "/none", manifestOf(aPoint) + "/below",
			path.Dir(aPoint), aPoint, // folders are no objects
		} {
			f.lacks(f.sink, key)
		}
	},
	"odd names are kept as they are": func(f *fixture) {
		for i, name := range []string{"..x", "...", "-rf", "a b", "a\nb", "%2F", "~", "ü", ".hidden", "*", strings.Repeat("x", 255)} {
			dir := pointOf("web01", name, fmt.Sprint("i", i))
			staging := f.stage(f.sink, dir, "1")
			key := f.write(staging, name, name)
			f.must(staging.Publish(f.Context(), []byte(name)))
			f.holds(f.sink, key, name)
			f.holds(f.sink, manifestOf(dir), name)
		}
	},
	"bad keys are refused": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		before := f.Contents(f.T)
		for _, key := range badKeys {
			_, oerr := f.sink.Open(f.Context(), key)
			_, rerr := f.sink.OpenRange(f.Context(), key, 0, 0)
			_, serr := f.sink.Stat(f.Context(), key)
			for op, err := range map[string]error{"open": oerr, "open a range of": rerr, "stat": serr, "remove": f.sink.Remove(f.Context(), key)} {
				if err == nil || errors.Is(err, sink.ErrNotFound) {
					f.Errorf("%s %.20q: %v, want that it is refused", op, key, err)
				}
			}
			if _, err := pointsBelow(f.Context(), f.sink, key); err == nil {
				f.Errorf("the points below %.20q are listed", key)
			}
			if _, _, err := staging.Create(f.Context(), key, 0); err == nil {
				f.Errorf("create %.20q is not refused", key)
			}
		}
		f.unchanged(before)
	},
	"what is not the folder of a point is refused": func(f *fixture) {
		before := f.Contents(f.T)
		dirs := []string{"points", "points/h/k/n", aPoint + "/x", "other/h/k/n/i", "pointsx/h/k/n/i", "staging/h/k/n/i"}
		for _, key := range badKeys {
			dirs = append(dirs, key, "points/h/k/n/"+key, "points/"+key+"/k/n/i")
		}
		for _, dir := range dirs {
			if _, err := f.sink.Stage(f.Context(), dir, "1"); err == nil {
				f.Errorf("stage %.40q is not refused", dir)
			}
			if err := f.sink.Unstage(f.Context(), dir, "1"); err == nil {
				f.Errorf("unstage %.40q is not refused", dir)
			}
			if err := f.sink.RemovePoint(f.Context(), dir); err == nil {
				f.Errorf("the removal of %.40q is not refused", dir)
			}
			if err := f.sink.PutMark(f.Context(), dir, sink.VerifiedName, nil); err == nil || errors.Is(err, sink.ErrNotFound) {
				f.Errorf("a mark beside %.40q: %v, want that it is refused", dir, err)
			}
		}
		for _, below := range []string{aPoint + "/x", "other", "pointsx", "staging"} {
			if _, err := pointsBelow(f.Context(), f.sink, below); err == nil {
				f.Errorf("the points below %s are listed", below)
			}
		}
		for _, attempt := range []string{"", "a/b", "../x", "/", "a\x00", strings.Repeat("x", 255)} {
			if _, err := f.sink.Stage(f.Context(), aPoint, attempt); err == nil {
				f.Errorf("attempt %.20q is not refused", attempt)
			}
			if err := f.sink.Unstage(f.Context(), aPoint, attempt); err == nil {
				f.Errorf("unstage attempt %.20q is not refused", attempt)
			}
		}
		f.unchanged(before)
	},
}

var concurrencyTests = map[string]func(*fixture){
	"of many attempts at one point exactly one wins": func(f *fixture) {
		const attempts = 16
		sinks := []sink.Sink{f.sink, f.Open(f.T)}
		var keys [attempts]string
		var errs [attempts]error
		parallel(attempts, func(i int) {
			keys[i], errs[i] = storeOnce(f.Context(), sinks[i%len(sinks)], aPoint, fmt.Sprint(i))
		})
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				f.Errorf("both attempt %d and %d won", winner, i)
			default:
				f.reports(fmt.Sprint("attempt ", i), err, sink.ErrExists)
			}
		}
		if winner < 0 {
			f.Fatal("no attempt won")
		}
		f.holds(f.sink, manifestOf(aPoint), fmt.Sprint(winner))
		f.holds(f.sink, keys[winner], fmt.Sprint(winner))
		for name, content := range f.Contents(f.T) {
			for i := range attempts {
				if i != winner && content == fmt.Sprint(i) {
					f.Errorf("%s of attempt %d is left", name, i)
				}
			}
		}
	},
	"artifacts are written at the same time": func(f *fixture) {
		const count = 16
		staging := f.stage(f.sink, aPoint, "1")
		var keys [count]string
		var errs [count]error
		parallel(count, func(i int) {
			if i%4 == 3 {
				errs[i] = abortOnce(f.Context(), staging, fmt.Sprint("volumes/", i))
				return
			}
			keys[i], errs[i] = write(f.Context(), staging, fmt.Sprint("volumes/", i), strings.Repeat(fmt.Sprint(i), 100_000))
		})
		f.must(errors.Join(errs[:]...))
		f.must(staging.Publish(f.Context(), []byte("{}")))
		for i, key := range keys {
			if key != "" {
				f.holds(f.sink, key, strings.Repeat(fmt.Sprint(i), 100_000))
			}
		}
	},
	"points are removed while others of the item are stored": func(f *fixture) {
		const count = 24
		var errs [count]error
		parallel(count, func(i int) {
			dir := pointOf("web01", "n", fmt.Sprint("i", i))
			if _, errs[i] = storeOnce(f.Context(), f.sink, dir, "1"); errs[i] == nil && i%2 == 0 {
				errs[i] = f.sink.RemovePoint(f.Context(), dir)
			}
		})
		f.must(errors.Join(errs[:]...))
		if got := len(f.points(f.sink)); got != count/2 {
			f.Errorf("there are %d points, want %d", got, count/2)
		}
	},
	"many points are stored at a time": func(f *fixture) {
		const count = 16
		var errs [count]error
		parallel(count, func(i int) {
			_, errs[i] = storeOnce(f.Context(), f.sink, pointOf("web01", fmt.Sprint("n", i%3), fmt.Sprint("i", i)), "1")
		})
		f.must(errors.Join(errs[:]...))
		if got := len(f.points(f.sink)); got != count {
			f.Errorf("there are %d points, want %d", got, count)
		}
	},
	"a point that is seen is whole": func(f *fixture) {
		const count = 12
		var errs [count + 1]error
		parallel(count+1, func(i int) {
			if i < count {
				_, errs[i] = storeOnce(f.Context(), f.sink, pointOf("web01", "n", fmt.Sprint("i", i)), "1")
				return
			}
			for seen := 0; seen < count && errs[i] == nil && f.Context().Err() == nil; {
				seen, errs[i] = readAll(f.Context(), f.sink)
			}
		})
		f.must(errors.Join(errs[:]...))
	},
}

// parallel runs do count times at once, and waits for all.
func parallel(count int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// storeOnce stores a point whose artifact and manifest hold the attempt's name.
func storeOnce(ctx context.Context, s sink.Sink, dir, attempt string) (key string, err error) {
	staging, err := s.Stage(ctx, dir, attempt)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, staging.Discard(ctx)) }()
	if key, err = write(ctx, staging, "image.tar.zst", attempt); err != nil {
		return "", err
	}
	return key, staging.Publish(ctx, []byte(attempt))
}

// abortOnce begins an artifact and aborts it.
func abortOnce(ctx context.Context, staging sink.Staging, name string) error {
	w, _, err := staging.Create(ctx, name, 0)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte("half"))
	return errors.Join(err, w.Abort())
}

// readAll reads every point and returns how many there were.
func readAll(ctx context.Context, s sink.Sink) (int, error) {
	dirs, err := points(ctx, s)
	for _, dir := range dirs {
		manifest, merr := read(ctx, s, manifestOf(dir))
		if merr == nil && manifest == "" {
			merr = fmt.Errorf("the manifest of %s is empty", dir)
		}
		err = errors.Join(err, merr)
	}
	return len(dirs), err
}

var contextTests = map[string]func(*fixture){
	"nothing begins when ctx has ended": func(f *fixture) {
		key := f.store(pointOf("web01", "n", "i"), "1", "{}", "image")
		before := f.Contents(f.T)
		_, err := f.sink.Stage(cancelled(), aPoint, "1")
		f.reports("stage", err, context.Canceled)
		f.reports("unstage", f.sink.Unstage(cancelled(), aPoint, "1"), context.Canceled)
		_, err = f.sink.Open(cancelled(), key)
		f.reports("open", err, context.Canceled)
		_, err = f.sink.OpenRange(cancelled(), key, 0, 1)
		f.reports("open a range", err, context.Canceled)
		_, err = f.sink.Stat(cancelled(), key)
		f.reports("stat", err, context.Canceled)
		f.reports("remove", f.sink.Remove(cancelled(), key), context.Canceled)
		f.reports("remove a point", f.sink.RemovePoint(cancelled(), path.Dir(key)), context.Canceled)
		f.reports("put a mark", f.sink.PutMark(cancelled(), path.Dir(key), sink.VerifiedName, nil), context.Canceled)
		_, err = points(cancelled(), f.sink)
		f.reports("points", err, context.Canceled)
		staging := f.stage(f.sink, aPoint, "2")
		_, _, err = staging.Create(cancelled(), "image.tar.zst", 0)
		f.reports("create", err, context.Canceled)
		f.reports("publish", staging.Publish(cancelled(), []byte("{}")), context.Canceled)
		f.must(staging.Discard(f.Context()))
		f.unchanged(before)
	},
	"reading ends with ctx": func(f *fixture) {
		key := f.store(aPoint, "1", "{}", strings.Repeat("x", 4<<20))
		ctx, cancel := context.WithCancel(f.Context())
		defer cancel()
		r, err := f.sink.Open(ctx, key)
		f.must(err)
		defer r.Close()
		part, err := f.sink.OpenRange(ctx, key, 1, 2<<20)
		f.must(err)
		defer part.Close()
		for _, r := range []io.Reader{r, part} {
			_, err = io.ReadFull(r, make([]byte, 10))
			f.must(err)
		}
		cancel()
		for _, r := range []io.Reader{r, part} {
			_, err = io.Copy(io.Discard, r)
			f.reports("read", err, context.Canceled)
		}
	},
}

var absenceTests = map[string]func(*fixture){
	"a sink that was replaced is not available": func(f *fixture) { f.unavailableAfter((Place).Replace) },
	"a sink that has vanished is not available": func(f *fixture) { f.unavailableAfter((Place).Vanish) },
}

// unavailableAfter fails the test unless everything is refused, and nothing
// written, once something happened to the place.
func (f *fixture) unavailableAfter(happens func(Place, *testing.T)) {
	key := f.store(aPoint, "1", "{}", "image")
	staged := f.stage(f.sink, pointOf("web01", "staged", "i"), "1")
	f.write(staged, "image.tar.zst", "image")

	happens(f.Place, f.T)
	before := f.Contents(f.T)
	_, err := f.sink.Stage(f.Context(), aPoint, "2")
	f.reports("stage", err, sink.ErrUnavailable)
	f.reports("unstage", f.sink.Unstage(f.Context(), aPoint, "1"), sink.ErrUnavailable)
	f.reports("publish", staged.Publish(f.Context(), []byte("{}")), sink.ErrUnavailable)
	_, err = f.sink.Open(f.Context(), key)
	f.reports("open", err, sink.ErrUnavailable)
	_, err = f.sink.OpenRange(f.Context(), key, 0, 1)
	f.reports("open a range", err, sink.ErrUnavailable)
	_, err = f.sink.Stat(f.Context(), key)
	f.reports("stat", err, sink.ErrUnavailable)
	f.reports("remove", f.sink.Remove(f.Context(), key), sink.ErrUnavailable)
	f.reports("remove a point", f.sink.RemovePoint(f.Context(), aPoint), sink.ErrUnavailable)
	f.reports("put a mark", f.sink.PutMark(f.Context(), aPoint, sink.VerifiedName, nil), sink.ErrUnavailable)
	_, err = points(f.Context(), f.sink)
	f.reports("points", err, sink.ErrUnavailable)
	_ = staged.Discard(f.Context()) // whether that can be done depends on the sink
	f.unchanged(before)
}
