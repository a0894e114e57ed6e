// Package file is a sink in a folder of a file system.
//
// Points are staged in a folder of their own and published by one rename.
// Everything is synced before it counts. No symbolic link below the sink's own
// folder is followed; the folder itself may be reached by one.
package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// FormatVersion is the version of the layout that this package writes, and the
// highest that it reads.
const FormatVersion = 1

// Names at the top of a sink.
const (
	identityName = "holdfast.json"
	pointsName   = "points"
	stagingName  = "staging"
)

// maxIdentity bounds the size of holdfast.json, in bytes.
const maxIdentity = 64 << 10

// Sink is a sink in a folder. It may be used by several goroutines, and the
// folder by several processes.
type Sink struct {
	dir string
	id  string
}

var _ sink.Sink = (*Sink)(nil)

// identity is what holdfast.json holds.
type identity struct {
	FormatVersion int       `json:"formatVersion"`
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
}

// Open returns the sink in the folder dir, which must be there: a mount that is
// missing must never be replaced by a fresh folder. known is the id that the
// caller remembers from earlier. If it is empty and the folder holds no sink,
// one is set up there. Errors wrap sink.ErrUnavailable.
func Open(_ context.Context, dir, known string) (*Sink, error) {
	s := &Sink{dir: dir}
	err := s.within(func(root *os.Root) error {
		own, err := readIdentity(root)
		switch {
		case errors.Is(err, fs.ErrNotExist) && known == "":
			own, err = setUp(root)
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("it holds no sink any more (it was %s); is the disk mounted?", known)
		}
		if err != nil {
			return err
		}
		if known != "" && own.ID != known {
			return fmt.Errorf("it holds the sink %s, and not %s that was used before; is the right disk mounted?", own.ID, known)
		}
		s.id = own.ID
		return nil
	})
	if err != nil {
		return nil, unavailable(dir, err)
	}
	return s, nil
}

// OpenExisting returns the sink in the folder dir, for reading, and sets none
// up.
func OpenExisting(_ context.Context, dir string) (*Sink, error) {
	s := &Sink{dir: dir}
	err := s.within(func(root *os.Root) error {
		own, err := readIdentity(root)
		s.id = own.ID
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("it holds no sink (no %s); the first backup sets one up in an empty folder", identityName)
	}
	if err != nil {
		return nil, unavailable(dir, err)
	}
	return s, nil
}

func unavailable(dir string, err error) error {
	err = explain(dir, err)
	if errors.Is(err, sink.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", sink.ErrUnavailable, err)
}

// within opens the sink's folder for one operation, so that a mount that came or
// went meanwhile is noticed.
func (s *Sink) within(do func(root *os.Root) error) error {
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the folder %s is not there; make it, or mount the disk", sink.ErrUnavailable, s.dir)
	}
	if err != nil {
		return explain(s.dir, err)
	}
	defer root.Close()
	return do(root)
}

// verify reports whether the folder still holds this sink.
func (s *Sink) verify(root *os.Root) error {
	own, err := readIdentity(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s holds no sink any more; is the disk mounted?", sink.ErrUnavailable, s.dir)
	case err != nil:
		return unavailable(s.dir, err)
	case own.ID != s.id:
		return fmt.Errorf("%w: %s holds the sink %s by now, and not %s; is the right disk mounted?", sink.ErrUnavailable, s.dir, own.ID, s.id)
	}
	return nil
}

// ID implements [sink.Sink].
func (s *Sink) ID() string { return s.id }

// Location returns the sink's folder.
func (s *Sink) Location() string { return s.dir }

// Open implements [sink.Sink].
func (s *Sink) Open(_ context.Context, key string) (r io.ReadCloser, err error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	err = s.within(func(root *os.Root) error {
		at, err := enter(root, path.Dir(key), false)
		if err != nil {
			return err
		}
		defer at.Close()
		f, err := openFile(at, path.Base(key))
		r = f
		return err
	})
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, sink.ErrUnavailable):
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", key, sink.ErrNotFound)
	}
	return nil, explain(path.Join(s.dir, key), err)
}

// Points implements [sink.Sink]. One folder's names are in memory at a time for
// each level.
func (s *Sink) Points(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := s.within(func(root *os.Root) error {
			return walk(ctx, root, pointsName, 4, func(dir string) error {
				if !yield(dir, nil) {
					return errStop
				}
				return nil
			})
		})
		if err != nil && !errors.Is(err, errStop) {
			yield("", explain(s.dir, err))
		}
	}
}

var errStop = errors.New("stop")

// walk visits the folders depth levels below dir that hold a manifest.
func walk(ctx context.Context, root *os.Root, dir string, depth int, visit func(dir string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth == 0 {
		info, err := root.Lstat(path.Join(dir, sink.ManifestName))
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		return visit(dir)
	}
	at, err := enter(root, dir, false)
	if errors.Is(err, fs.ErrNotExist) { // no points yet, or removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(at.FS(), ".")
	_ = at.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() { // links too
			continue
		}
		if err := walk(ctx, root, path.Join(dir, e.Name()), depth-1, visit); err != nil {
			return err
		}
	}
	return nil
}

func readIdentity(root *os.Root) (identity, error) {
	var own identity
	f, err := openFile(root, identityName)
	if err != nil {
		return own, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxIdentity))
	if err != nil {
		return own, err
	}
	if err := json.Unmarshal(raw, &own); err != nil || own.ID == "" {
		return own, fmt.Errorf("%s is damaged; restore it, the points are not touched", identityName)
	}
	if own.FormatVersion != FormatVersion {
		return own, fmt.Errorf("%s says format %d, and this version knows %d; use a newer holdfast", identityName, own.FormatVersion, FormatVersion)
	}
	return own, nil
}

// setUp makes an empty folder a sink. Of several processes that try at a time
// the first one wins, and all return its identity.
func setUp(root *os.Root) (identity, error) {
	if _, err := root.Lstat(pointsName); err == nil {
		return identity{}, fmt.Errorf("it has points but no %s; restore that file", identityName)
	}
	own := identity{FormatVersion: FormatVersion, ID: uuid.NewString(), Created: time.Now().UTC()}
	raw, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return own, err
	}
	temporary := "." + identityName + "." + own.ID
	defer func() { _ = root.Remove(temporary) }()
	if err := writeFile(root, temporary, append(raw, '\n')); err != nil {
		return own, err
	}
	// A link fails if the name is taken, where a rename would replace it.
	if err := root.Link(temporary, identityName); err != nil && !errors.Is(err, fs.ErrExist) {
		return own, err
	}
	if err := syncFolder(root); err != nil {
		return own, err
	}
	return readIdentity(root)
}

// writeFile writes a small file durably.
func writeFile(at *os.Root, name string, content []byte) error {
	f, err := createFile(at, name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
