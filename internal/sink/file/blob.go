package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// blob is a blob that is written: a file in the attempt's folder, which a rename takes to
// where blobs lie.
type blob struct{ file *artifact }

// CreateBlob implements [sink.Staging].
func (t *staging) CreateBlob(ctx context.Context, _ int64) (sink.BlobWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name := ".blob-" + uuid.NewString()
	a := &artifact{ctx: ctx, staging: t, name: name, place: path.Join(t.place(), name)}
	if err := t.open(a); err != nil {
		return nil, err
	}
	if err := a.create("."); err != nil {
		t.close(a)
		return nil, explain(a.place, err)
	}
	return blob{a}, nil
}

// Write implements [sink.BlobWriter].
func (b blob) Write(p []byte) (int, error) { return b.file.Write(p) }

// Abort implements [sink.BlobWriter].
func (b blob) Abort() error { return b.file.Abort() }

// Commit implements [sink.BlobWriter].
func (b blob) Commit(digest string) error {
	a := b.file
	if err := errors.Join(a.failed(), sink.CheckDigest(digest)); err != nil {
		return err
	}
	err := a.f.Sync()
	err = errors.Join(err, a.f.Close())
	a.f = nil
	if err == nil {
		err = a.appear(sink.BlobKey(digest))
	}
	if err != nil {
		a.err = explain(a.place, err)
		return a.err
	}
	a.end()
	return nil
}

// appear moves the file to key, in place of one that is there.
func (a *artifact) appear(key string) error {
	to := a.staging.sink
	root, err := to.root()
	if err != nil {
		return err
	}
	defer root.Close()
	return whileFoldersVanish(func() error {
		return to.inFolder(root, path.Dir(key), func(folder *os.Root) error {
			if there, err := lstat(folder, path.Base(key)); err == nil && there.IsDir() {
				return fmt.Errorf("%s %w", to.place(key), errFolder)
			}
			if err := rename(a.folder, a.name, folder, path.Base(key)); err != nil {
				return err
			}
			return errors.Join(syncFolder(folder), syncFolder(a.folder))
		})
	})
}

// Shared implements [sink.Sharer]. What is no file has no key.
func (s *Sink) Shared(ctx context.Context, folder string) iter.Seq2[sink.Object, error] {
	return func(yield func(sink.Object, error) bool) {
		all, err := s.shared(ctx, folder)
		for _, found := range all {
			if cerr := ctx.Err(); cerr != nil {
				err = cerr
				break
			}
			if !yield(found, nil) {
				return
			}
		}
		if err != nil {
			yield(sink.Object{}, err)
		}
	}
}

func (s *Sink) shared(ctx context.Context, folder string) (all []sink.Object, err error) {
	if err := errors.Join(ctx.Err(), sink.CheckSharedFolder(folder)); err != nil {
		return nil, err
	}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	at, err := openPath(root, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(s.place(folder), err)
	}
	defer at.Close()
	opened, err := at.Open(".")
	if err != nil {
		return nil, explain(s.place(folder), err)
	}
	defer opened.Close()
	entries, err := opened.ReadDir(-1)
	if err != nil {
		return nil, explain(s.place(folder), err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() || isTemporary(e.Name()) {
			continue
		}
		if err != nil {
			return nil, explain(s.place(folder), err)
		}
		all = append(all, sink.Object{Key: path.Join(folder, e.Name()), Info: sink.Info{Size: info.Size()}})
	}
	slices.SortFunc(all, func(a, b sink.Object) int { return strings.Compare(a.Key, b.Key) })
	return all, nil
}

// sharedTemporary begins the names of files that are written, in a folder of what points
// share.
const sharedTemporary = "shared"

func isTemporary(name string) bool { return strings.HasPrefix(name, temporaryPrefix(sharedTemporary)) }

// PutShared implements [sink.Sharer], as PutMark puts a mark.
func (s *Sink) PutShared(ctx context.Context, key string, content []byte) error {
	if err := errors.Join(ctx.Err(), sink.CheckPutShared(key)); err != nil {
		return err
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	err = whileFoldersVanish(func() error {
		return s.inFolder(root, path.Dir(key), func(folder *os.Root) error {
			return s.replaceFile(folder, sharedTemporary, path.Base(key), content)
		})
	})
	return explain(s.place(key), err)
}

// RemoveShared implements [sink.Sharer].
func (s *Sink) RemoveShared(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), sink.CheckShared(key)); err != nil {
		return err
	}
	return s.prune(path.Dir(key), func(folder *os.Root) error { return removeFile(folder, path.Base(key)) })
}
