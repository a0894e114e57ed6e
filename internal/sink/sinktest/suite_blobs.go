package sinktest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"
	"slices"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/sink"
)

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blobContents are contents of blobs: empty, small, and larger than a sink would keep in
// memory.
var blobContents = []string{"", "a layer", strings.Repeat("0123456789abcdef!", 80_000)}

// writeBlob stores one blob, and returns its key.
func (f *fixture) writeBlob(staging sink.Staging, content string) string {
	f.Helper()
	w, err := staging.CreateBlob(f.Context(), 0)
	f.must(err)
	for part := range slices.Chunk([]byte(content), 1<<17) {
		_, err = w.Write(part)
		f.must(err)
	}
	f.must(w.Commit(digestOf(content)))
	return sink.BlobKey(digestOf(content))
}

// shares fails the test unless these are the keys of what lies in a shared folder.
func (f *fixture) shares(folder string, want ...string) {
	f.Helper()
	var got []string
	for found, err := range f.sink.Shared(f.Context(), folder) {
		f.must(err)
		got = append(got, found.Key)
		info, err := f.sink.Stat(f.Context(), found.Key)
		f.must(err)
		if info != found.Info {
			f.Errorf("%s is listed as %+v, and is %+v", found.Key, found.Info, info)
		}
	}
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		f.Errorf("in %s are %q, want %q", folder, got, want)
	}
}

var blobTests = map[string]func(*fixture){
	"a blob is kept under its digest, whatever becomes of its attempt": func(f *fixture) {
		f.shares(sink.BlobsName)
		staging := f.stage(f.sink, aPoint, "1")
		var keys []string
		for _, content := range blobContents {
			keys = append(keys, f.writeBlob(staging, content))
		}
		check := func() {
			for i, content := range blobContents {
				f.holds(f.Open(f.T), keys[i], content)
			}
			f.shares(sink.BlobsName, keys...)
		}
		check()
		f.must(staging.Discard(f.Context()))
		check()
		f.must(f.sink.Unstage(f.Context(), aPoint, "1"))
		check()
		f.store(aPoint, "2", "{}", "image")
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		check()
		for _, key := range keys {
			for range 2 { // there is nothing the second time
				f.must(f.sink.RemoveShared(f.Context(), key))
				f.lacks(f.sink, key)
			}
		}
		f.shares(sink.BlobsName)
	},
	"a blob that is there is written anew": func(f *fixture) {
		for _, content := range blobContents {
			staging := f.stage(f.sink, aPoint, "1")
			key := f.writeBlob(staging, content)
			f.writeBlob(staging, content)
			f.writeBlob(f.stage(f.Open(f.T), pointOf("web02", "db", "i"), "1"), content)
			f.holds(f.sink, key, content)
		}
	},
	"a blob that was not committed is not there, and keeps its attempt from being published": func(f *fixture) {
		for _, content := range blobContents {
			staging := f.stage(f.sink, aPoint, "1")
			w, err := staging.CreateBlob(f.Context(), 0)
			f.must(err)
			_, err = w.Write([]byte(content))
			f.must(err)
			f.shares(sink.BlobsName)
			if err := staging.Publish(f.Context(), []byte("{}")); err == nil {
				f.Error("the point was published with an open blob")
			}
			for range 2 {
				f.must(w.Abort())
			}
			if err := w.Commit(digestOf(content)); err == nil {
				f.Error("a blob was committed that was aborted")
			}
			f.shares(sink.BlobsName)
			f.must(staging.Discard(f.Context()))
		}
		f.lacks(f.sink, manifestOf(aPoint))
	},
	"nothing of a blob is left when its attempt is discarded": func(f *fixture) {
		before := f.Contents(f.T)
		for _, content := range blobContents {
			staging := f.stage(f.sink, aPoint, "1")
			w, err := staging.CreateBlob(f.Context(), 0)
			f.must(err)
			_, err = w.Write([]byte(content))
			f.must(err)
			f.must(staging.Discard(f.Context()))
			f.unchanged(before)
			if err := w.Commit(digestOf(content)); err == nil {
				f.Error("a blob was committed after discard")
			}
			f.must(w.Abort())
			f.unchanged(before)
		}
	},
	"a blob is not a part of the point's folder": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		for _, content := range blobContents {
			f.writeBlob(staging, content)
		}
		key := f.write(staging, "index.json", "{}")
		f.must(staging.Publish(f.Context(), naming(key)))
		for name := range f.Contents(f.T) {
			if strings.HasPrefix(name, aPoint) && name != key && name != manifestOf(aPoint) {
				f.Errorf("%s lies with the point", name)
			}
		}
	},
	"a digest that is none is refused": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		for _, digest := range []string{"", "sha256:", "sha256:../x", strings.Repeat("0", 64), "sha256:" + strings.Repeat("A", 64),
			"sha512:" + strings.Repeat("0", 64)} {
			w, err := staging.CreateBlob(f.Context(), 0)
			f.must(err)
			if err := w.Commit(digest); err == nil {
				f.Errorf("the digest %q is taken", digest)
			}
			f.must(w.Abort())
		}
		f.shares(sink.BlobsName)
	},
	"the end of ctx ends a blob": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		for _, content := range blobContents {
			ctx, cancel := context.WithCancel(f.Context())
			w, err := staging.CreateBlob(ctx, 0)
			f.must(err)
			_, err = w.Write([]byte(content))
			f.must(err)
			cancel()
			_, err = w.Write([]byte("x"))
			f.reports("write", err, context.Canceled)
			f.reports("commit", w.Commit(digestOf(content)), context.Canceled)
			f.must(w.Abort())
		}
		f.shares(sink.BlobsName)
	},
	"one blob is written by several at a time": func(f *fixture) {
		content := blobContents[2]
		var all sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			staging := f.stage(f.Open(f.T), pointOf("web01", "c", string(rune('a'+i))), "1")
			all.Go(func() {
				w, err := staging.CreateBlob(f.Context(), 0)
				if err == nil {
					_, err = w.Write([]byte(content))
				}
				if err == nil {
					err = w.Commit(digestOf(content))
				}
				errs[i] = err
			})
		}
		all.Wait()
		f.must(errors.Join(errs...))
		f.holds(f.sink, sink.BlobKey(digestOf(content)), content)
	},
	"small objects that are shared are put, replaced, listed and removed": func(f *fixture) {
		before := f.Contents(f.T)
		for _, folder := range []string{sink.LayersName, sink.GarbageName} {
			a, b := path.Join(folder, "a.json"), path.Join(folder, "b.json")
			for _, content := range []string{strings.Repeat("first ", 100), "second"} {
				f.must(f.sink.PutShared(f.Context(), b, []byte(content)))
				f.holds(f.Open(f.T), b, content)
			}
			f.must(f.sink.PutShared(f.Context(), a, []byte("a")))
			f.shares(folder, a, b)
			f.must(f.sink.RemoveShared(f.Context(), a))
			f.shares(folder, b)
			for range 2 {
				f.must(f.sink.RemoveShared(f.Context(), b))
			}
			f.shares(folder)
		}
		f.unchanged(before)
	},
	"what is shared has folders of its own": func(f *fixture) {
		key := f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		for _, bad := range append(badKeys, key, "layers", "layers/a/b", "other/a", sink.IdentityName, sink.BlobsName,
			sink.BlobsName+"/a/b", manifestOf(aPoint)) {
			if err := f.sink.PutShared(f.Context(), bad, []byte("x")); err == nil {
				f.Errorf("%.40q is put", bad)
			}
			if err := f.sink.RemoveShared(f.Context(), bad); err == nil {
				f.Errorf("%.40q is removed", bad)
			}
			for _, err := range f.sink.Shared(f.Context(), bad) {
				if err == nil && bad != "layers" && bad != sink.BlobsName {
					f.Errorf("%.40q is listed", bad)
				}
			}
		}
		if err := f.sink.PutShared(f.Context(), sink.BlobKey(digestOf("x")), []byte("x")); err == nil {
			f.Error("a blob is put as a small object")
		}
		f.unchanged(before)
	},
	"another sink's place keeps nothing that is shared": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		w, err := staging.CreateBlob(f.Context(), 0)
		f.must(err)
		f.Replace(f.T)
		before := f.Contents(f.T)
		_, _ = w.Write([]byte("x"))
		if err := w.Commit(digestOf("x")); err == nil {
			f.Error("a blob is committed")
		}
		f.reports("put", f.sink.PutShared(f.Context(), "layers/a", []byte("x")), sink.ErrUnavailable)
		f.reports("remove", f.sink.RemoveShared(f.Context(), "layers/a"), sink.ErrUnavailable)
		for _, err := range f.sink.Shared(f.Context(), sink.LayersName) {
			f.reports("list", err, sink.ErrUnavailable)
		}
		f.unchanged(before)
	},
}
