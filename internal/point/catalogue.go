package point

import (
	"context"
	"errors"
	"iter"
	"path"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

// Catalogue is what lies in a sink: its points, and their manifests. There is no
// other list of them.
type Catalogue interface {
	sink.Lister
	sink.Reader
}

// Entry is a point that was found in a sink.
type Entry struct {
	// Dir is the point's folder in the sink.
	Dir string
	// Manifest is nil if it cannot be read, and Err says why.
	Manifest *Manifest
	Err      error
}

// List yields the points below a folder, as [sink.Lister] has them, with their
// manifests. One that cannot be read is yielded with its error and hides no other;
// one that was removed meanwhile is left out. List ends after the first error of
// listing.
func List(ctx context.Context, from Catalogue, below string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for dir, err := range from.Points(ctx, below) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			e := Entry{Dir: dir}
			e.Manifest, e.Err = Read(ctx, from, dir)
			switch {
			case errors.Is(e.Err, sink.ErrNotFound):
				continue
			case ctx.Err() != nil:
				yield(Entry{}, context.Cause(ctx))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Find returns the folders of the points whose id begins with prefix.
func Find(ctx context.Context, from sink.Lister, prefix string) (dirs []string, err error) {
	for dir, err := range from.Points(ctx, sink.PointsName) {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(path.Base(dir), prefix) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}
