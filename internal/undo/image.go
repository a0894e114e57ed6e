package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
)

// findImages returns the ids of the images that the commits of the record made, by
// the reference that each was to have. One that lost its name is found by its id,
// and before that is known by its comment. References that could not be looked for
// are left out.
func (p *pass) findImages(ctx context.Context, r *Record) (map[string][]string, error) {
	found := map[string][]string{}
	var errs []error
	for _, a := range r.Actions {
		if a.RemoveImage == nil {
			continue
		}
		ids, err := FindImage(ctx, p.engine, *a.RemoveImage)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found[a.RemoveImage.Reference] = ids
		if len(ids) == 0 {
			continue
		}
		p.imageSeen = true
		if a.RemoveImage.ID == "" {
			p.Change(func(r *Record) { r.changeImage(a.RemoveImage.Reference, func(img *Image) { img.ID = ids[0] }) })
			p.dirty.Store(true)
		}
	}
	return found, errors.Join(errs...)
}

// FindImage returns the ids of the images that the commit made which was to be
// called a.Reference; none if there are none on the Engine.
func FindImage(ctx context.Context, e engine.Images, a Image) (ids []string, err error) {
	for _, name := range []string{a.ID, a.Reference} {
		if name == "" {
			continue
		}
		switch img, err := e.InspectImage(ctx, name); {
		case err == nil:
			ids = append(ids, img.ID)
		case !errors.Is(err, engine.ErrNotFound):
			return nil, fmt.Errorf("look for the snapshot %s: %w", a.Reference, err)
		}
	}
	dangling, err := e.Dangling(ctx)
	if err != nil {
		return ids, fmt.Errorf("look for the snapshot %s without its name: %w", a.Reference, err)
	}
	for _, img := range dangling {
		if img.Comment == engine.SnapshotComment(a.Reference) {
			ids = append(ids, img.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// removeImages removes what was found of the commit of an image, and reports whether
// all of it is gone; not if it could not be looked for.
func (p *pass) removeImages(ctx context.Context, a *Image, found map[string][]string) (gone bool, err error) {
	ids, looked := found[a.Reference]
	var errs []error
	for _, id := range ids {
		kept, err := RemoveImage(ctx, p.engine, Image{Reference: a.Reference, ID: id})
		if len(kept) > 0 {
			p.log.Warn("somebody has given the snapshot a name of his own; it is left to him",
				zap.String("image", id), zap.Strings("names", kept))
		}
		errs = append(errs, err)
	}
	err = errors.Join(errs...)
	return looked && err == nil, err
}

// RemoveImage removes an image that a commit made, and returns when its id is gone.
// A snapshot that somebody has given a name of his own is his: it only loses ours,
// and its own names are returned as kept. RemoveImage reports engine.ErrInUse for
// one that a container uses, or that somebody has built upon.
func RemoveImage(ctx context.Context, e engine.Images, a Image) (kept []string, err error) {
	if a.Reference != "" {
		if err := e.RemoveImage(ctx, a.Reference); err != nil {
			return nil, fmt.Errorf("remove the snapshot %s: %w", a.Reference, err)
		}
	}
	if a.ID == "" {
		return nil, nil
	}
	img, err := e.InspectImage(ctx, a.ID)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("see whether the snapshot %s is gone: %w", a.Reference, err)
	case len(img.References) > 0:
		return img.References, nil
	}
	if err := e.RemoveImage(ctx, a.ID); err != nil {
		return nil, fmt.Errorf("remove the snapshot %s, which lost its name: %w", a.Reference, err)
	}
	return nil, nil
}
