package oci

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// fetches is how many manifests are asked for at a time.
const fetches = 8

// List implements [object.Store]. A registry lists tags, in no order that the keys have, and one
// must read what they lead to.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		all, err := s.find(ctx, objectTag, prefix)
		if err != nil {
			yield(object.Entry{}, s.explain(prefix, err))
			return
		}
		for _, f := range all {
			if !yield(object.Entry{Key: f.Annotations[keyAnnotation], Info: f.info()}, nil) {
				return
			}
		}
	}
}

// find returns what is of one kind and has keys that begin with prefix, in the byte order of the keys.
func (s *Store) find(ctx context.Context, kind, prefix string) ([]*found, error) {
	tags, err := s.tags(ctx, tagPrefix(kind, prefix))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]*found, len(tags))
	var fetching sync.WaitGroup
	for w := range min(fetches, len(tags)) {
		fetching.Go(func() {
			for i := w; i < len(tags) && ctx.Err() == nil; i += fetches {
				f, err := s.manifest(ctx, tags[i])
				switch {
				case notFound(err): // it was removed meanwhile
				case err != nil:
					cancel(fmt.Errorf("the tag %s: %w", tags[i], err))
				case strings.HasPrefix(f.Annotations[keyAnnotation], prefix) && len(f.Layers) > 0:
					f.Layers = []v1.Descriptor{{Size: f.content().Size}} // all that a listing needs of them
					all[i] = f
				}
			}
		})
	}
	fetching.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f *found) bool { return f == nil })
	slices.SortFunc(all, func(a, b *found) int {
		return strings.Compare(a.Annotations[keyAnnotation], b.Annotations[keyAnnotation])
	})
	return all, nil
}

// tags returns the tags that begin with prefix. A repository that is not there yet has none.
func (s *Store) tags(ctx context.Context, prefix string) (tags []string, err error) {
	err = s.repo.Tags(s.scoped(ctx), "", func(page []string) error {
		for _, tag := range page {
			if strings.HasPrefix(tag, prefix) {
				tags = append(tags, tag)
			}
		}
		return ctx.Err()
	})
	if notFound(err) {
		return nil, nil
	}
	return tags, err
}

// Sweep implements [object.Store]. An upload is known by what [upload.begin] puts into the
// repository; that is removed, and its end finds it gone. What was sent of it the registry removes by
// itself, when nobody has gone on with it for long.
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	all, err := s.find(ctx, uploadTag, prefix)
	if err != nil {
		return s.explain(prefix, err)
	}
	var kept error
	for _, f := range all {
		err := s.mayNotRemove(f.Annotations[keyAnnotation], s.removeManifest(ctx, f))
		if err != nil && !errors.Is(err, sink.ErrMayNotRemove) {
			return err
		}
		kept = errors.Join(kept, err)
	}
	if kept != nil {
		return kept
	}
	return s.mayNotRemove(prefix, errors.Join(s.withdrawSwept(ctx, prefix), s.sweepImage(ctx, prefix)))
}
