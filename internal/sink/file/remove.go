package file

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// RemovePoint implements [sink.Remover]. Folders above the point go too when they
// are empty.
func (s *Sink) RemovePoint(ctx context.Context, dir string) error {
	if err := errors.Join(ctx.Err(), sink.CheckPoint(dir)); err != nil {
		return err
	}
	return s.prune(path.Dir(dir), func(parent *os.Root) error { return removePoint(parent, path.Base(dir)) })
}

func removePoint(parent *os.Root, id string) error {
	folder, err := openFolder(parent, id)
	if errors.Is(err, fs.ErrNotExist) {
		return syncFolder(parent) // the process that removed it may have died before this
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Remove(sink.ManifestName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncFolder(folder); err != nil {
		return err
	}
	// The mark that says that it was removed goes last: see Leftovers.
	if err := removeAllBut(folder, sink.RemovedName); err != nil {
		return err
	}
	if err := removeFolder(parent, id); err != nil {
		return err
	}
	return syncFolder(parent)
}

// removeAllBut removes what is in a folder, but for what has this name, and returns when
// that is durable.
func removeAllBut(folder *os.Root, name string) error {
	f, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n == name {
			continue
		}
		if err := removeFolder(folder, n); err != nil {
			return err
		}
	}
	return syncFolder(folder)
}

// Leftovers implements [sink.Remover].
func (s *Sink) Leftovers(ctx context.Context, below string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := s.walk(ctx, below, func(within contents, dir string) error {
			if !within.has(sink.RemovedName) || within.isPoint() {
				return nil
			}
			if !yield(dir, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield("", err)
		}
	}
}

// removeFolder removes a folder with all in it. Others who put marks into a point's
// folder just when its manifest went may put them there until it is gone. Each takes as
// long as the sync of a small file, and some file systems (FUSE, NFS) keep a file of
// another name in the folder until then.
func removeFolder(at *os.Root, name string) (err error) {
	for try := range maxTries {
		time.Sleep(time.Duration(try) * removePause)
		if err = at.RemoveAll(name); !errors.Is(err, fs.ErrExist) { // it was not empty
			break
		}
	}
	return err
}

// removePause is by how much longer is waited before each further try: in all, about a second.
const removePause = 20 * time.Millisecond

// Remove implements [sink.Remover].
func (s *Sink) Remove(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), sink.CheckRemovable(key)); err != nil {
		return err
	}
	return s.prune(path.Dir(key), func(folder *os.Root) error { return removeFile(folder, path.Base(key)) })
}

// removeFile removes a file, and returns when that is durable.
func removeFile(folder *os.Root, name string) error {
	found, err := lstat(folder, name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && found.IsDir(): // a folder is no object
		return syncFolder(folder)
	case err != nil:
		return err
	}
	if err := folder.Remove(name); err != nil {
		return err
	}
	return syncFolder(folder)
}

// prune removes something in the folder dir, which need not be there, and then
// every folder on the way that is empty.
func (s *Sink) prune(dir string, remove func(folder *os.Root) error) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	err = pruneIn(root, dir, remove)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFolder) {
		return nil
	}
	return explain(s.place(dir), err)
}

func pruneIn(at *os.Root, dir string, remove func(folder *os.Root) error) error {
	name, rest, nested := strings.Cut(dir, "/")
	folder, err := openFolder(at, name)
	if err != nil {
		return err
	}
	defer folder.Close()
	if !nested {
		err = remove(folder)
	} else {
		err = pruneIn(folder, rest, remove)
	}
	if err == nil {
		_ = at.Remove(name) // fails, as it should, if it is not empty
	}
	return err
}
