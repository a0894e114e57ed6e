package point

import (
	"context"
	"errors"
	"iter"
	"path"
	"sync"

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
	// Marks are what lies beside it.
	Marks Marks
}

// ID returns the point's id, also if its manifest cannot be read.
func (e Entry) ID() string { return path.Base(e.Dir) }

// readAhead is how many points are read before they are asked for. A disk or a server
// works on several at a time; much of the time of one is spent waiting.
const readAhead = 16

// List yields the points below a folder, in the order of [sink.Lister], with their
// manifests and marks. One that cannot be read is yielded with its error and hides no
// other; one that was removed meanwhile is left out. List ends after the first error
// of listing. Points are read ahead of those that are yielded.
func List(ctx context.Context, from Catalogue, below string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		reading, stop := context.WithCancel(ctx)
		var readers sync.WaitGroup
		defer readers.Wait()
		defer stop()
		ahead := make(chan (<-chan read), readAhead)
		readers.Go(func() {
			defer close(ahead)
			readAll(reading, from, below, ahead, &readers)
		})
		for next := range ahead {
			r := <-next
			switch {
			case ctx.Err() != nil:
				yield(Entry{}, context.Cause(ctx))
				return
			case r.err != nil:
				yield(Entry{}, r.err)
				return
			case errors.Is(r.entry.Err, sink.ErrNotFound):
				continue
			case !yield(r.entry, nil):
				return
			}
		}
		if ctx.Err() != nil {
			yield(Entry{}, context.Cause(ctx))
		}
	}
}

// read is what came of reading one point. An err is the last there is.
type read struct {
	entry Entry
	err   error
}

// readAll sends, in the order of the points below a folder, what each will be sent by
// when it was read.
func readAll(ctx context.Context, from Catalogue, below string, ahead chan<- <-chan read, readers *sync.WaitGroup) {
	for found, err := range from.Points(ctx, below) {
		one := make(chan read, 1)
		select {
		case ahead <- one:
		case <-ctx.Done():
			return
		}
		if err != nil {
			one <- read{err: err}
			return
		}
		readers.Go(func() { one <- read{entry: readEntry(ctx, from, found)} })
	}
}

func readEntry(ctx context.Context, from Catalogue, found sink.Found) Entry {
	e := Entry{Dir: found.Dir}
	e.Manifest, e.Err = Read(ctx, from, found.Dir)
	e.Marks = ReadMarks(ctx, from, found.Dir, found.Marks...)
	return e
}
