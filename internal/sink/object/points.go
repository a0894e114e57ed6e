package object

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

// folder is what lies beside where a point's manifest is, or was.
type folder struct {
	dir   string
	point bool
	marks []string
	keys  []string // all, where they are asked for
}

// folders yields every folder of a point below a folder, as sink.Lister has it.
func (s *Sink) folders(ctx context.Context, below string) iter.Seq2[folder, error] {
	return func(yield func(folder, error) bool) {
		_, err := sink.LevelsBelow(below)
		if err = errors.Join(ctx.Err(), err); err == nil {
			err = s.check(ctx)
		}
		if err != nil {
			yield(folder{}, err)
			return
		}
		var current folder
		for entry, err := range s.store.List(ctx, below+"/") {
			if err != nil {
				yield(folder{}, err)
				return
			}
			dir, name := split(entry.Key)
			if dir == "" {
				continue // it lies where no point does
			}
			if dir != current.dir {
				if current.dir != "" && !yield(current, nil) {
					return
				}
				current = folder{dir: dir}
			}
			current.add(entry.Key, name)
		}
		if current.dir != "" {
			yield(current, nil)
		}
	}
}

func (f *folder) add(key, name string) {
	f.keys = append(f.keys, key)
	switch {
	case name == sink.ManifestName:
		f.point = true
	case slices.Contains(sink.MarkNames[:], name):
		f.marks = append(f.marks, name)
	}
}

// Sizes implements [sink.Sizer]. Parts of uploads that are under way are not among them: no
// store lists these.
func (s *Sink) Sizes(ctx context.Context) iter.Seq2[sink.Portion, error] {
	return func(yield func(sink.Portion, error) bool) {
		if err := s.check(ctx); err != nil {
			yield(sink.Portion{}, err)
			return
		}
		for entry, err := range s.store.List(ctx, sink.PointsName+"/") {
			dir, name := split(entry.Key)
			of := path.Base(dir)
			if attempt, _, artifact := strings.Cut(name, "/"); artifact {
				of += "-" + attempt
			}
			if !yield(sink.Portion{Of: of, Bytes: entry.Size}, err) || err != nil {
				return
			}
		}
	}
}

// pointElements is how many elements the key of a point's folder has.
const pointElements = 5

// split splits a key into the folder of its point and the rest. The folder is empty for
// the key of no point's.
func split(key string) (dir, name string) {
	elements := strings.SplitN(key, "/", pointElements+1)
	if len(elements) <= pointElements {
		return "", ""
	}
	dir = path.Join(elements[:pointElements]...)
	if sink.CheckPoint(dir) != nil {
		return "", ""
	}
	return dir, elements[pointElements]
}

// Points implements [sink.Lister].
func (s *Sink) Points(ctx context.Context, below string) iter.Seq2[sink.Found, error] {
	return func(yield func(sink.Found, error) bool) {
		for f, err := range s.folders(ctx, below) {
			if err == nil && !f.point {
				continue
			}
			if !yield(sink.Found{Dir: f.dir, Marks: f.marks}, err) || err != nil {
				return
			}
		}
	}
}

// Leftovers implements [sink.Remover].
func (s *Sink) Leftovers(ctx context.Context, below string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for f, err := range s.folders(ctx, below) {
			if err == nil && (f.point || !slices.Contains(f.marks, sink.RemovedName)) {
				continue
			}
			if !yield(f.dir, err) || err != nil {
				return
			}
		}
	}
}

// RemovePoint implements [sink.Remover].
func (s *Sink) RemovePoint(ctx context.Context, dir string) error {
	if err := errors.Join(ctx.Err(), sink.CheckPoint(dir)); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.checkUnlocked(ctx, dir); err != nil {
		return err
	}
	if err := s.store.Delete(ctx, path.Join(dir, sink.ManifestName)); err != nil {
		return err
	}
	if err := s.store.Sweep(ctx, dir+"/"); err != nil {
		return err
	}
	var keys []string
	for entry, err := range s.store.List(ctx, dir+"/") {
		if err != nil {
			return err
		}
		if entry.Key != path.Join(dir, sink.RemovedName) {
			keys = append(keys, entry.Key)
		}
	}
	for _, key := range append(keys, path.Join(dir, sink.RemovedName)) {
		if err := s.store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Remove implements [sink.Remover].
func (s *Sink) Remove(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), sink.CheckRemovable(key)); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.store.Delete(ctx, key)
}

// PutMark implements [sink.Marker].
func (s *Sink) PutMark(ctx context.Context, dir, name string, content []byte) error {
	if err := errors.Join(ctx.Err(), sink.CheckPoint(dir), sink.CheckMark(name)); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.isThere(ctx, dir); err != nil {
		return err
	}
	key := path.Join(dir, name)
	if err := s.store.Put(ctx, key, content); err != nil {
		return err
	}
	err := s.isThere(ctx, dir)
	if errors.Is(err, sink.ErrNotFound) { // a removal that did not see the mark is none the worse
		return errors.Join(err, s.store.Delete(ctx, key))
	}
	return err
}

// isThere reports sink.ErrNotFound if there is no point at dir.
func (s *Sink) isThere(ctx context.Context, dir string) error {
	_, err := s.store.Stat(ctx, path.Join(dir, sink.ManifestName))
	if errors.Is(err, sink.ErrNotFound) {
		return fmt.Errorf("%s: %w", s.store.Place(dir), sink.ErrNotFound)
	}
	return err
}
