package point

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net/url"
	"path"
	"strings"
	"sync"

	"holdfast.io/holdfast/events"
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

// Origin returns the host and the item that the point is of. If its manifest cannot be
// read they are what its place says, as far as that can be told: the item has no id then,
// and a long name is shortened.
func (e Entry) Origin() (host string, item events.Item) {
	if e.Manifest != nil {
		return e.Manifest.Host, e.Manifest.Item
	}
	// points/<host>/<kind>/<name>/<point id>
	if parts := strings.Split(e.Dir, "/"); len(parts) == 5 {
		host, item.Kind, item.Name = decodeName(parts[1]), events.ItemKind(parts[2]), decodeName(parts[3])
	}
	return host, item
}

// decodeName returns the name that EncodeName made an element of a path of, unless it is
// shortened there.
func decodeName(element string) string {
	if name, err := url.PathUnescape(element); err == nil {
		return name
	}
	return element
}

// readers is how many points are read at a time, before they are asked for. A disk or a
// server works on several at a time; much of the time of one is spent waiting.
const readers = 16

// List yields the points below a folder, in the order of [sink.Lister], with their
// manifests and marks. One that cannot be read is yielded with its error and hides no
// other; one that was removed meanwhile is left out. List ends after the first error
// of listing. Points are read ahead of those that are yielded.
func List(ctx context.Context, from Catalogue, below string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		reading, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		r := reader{from: from, found: make(chan *entry, readers), inOrder: make(chan *entry, 2*readers)}
		all.Go(func() { r.list(reading, below) })
		for range readers {
			all.Go(func() { r.read(reading) })
		}
		for e := range r.inOrder {
			<-e.done
			switch {
			case ctx.Err() != nil:
				yield(Entry{}, context.Cause(ctx))
				return
			case e.listErr != nil:
				yield(Entry{}, e.listErr)
				return
			case errors.Is(e.Err, sink.ErrNotFound):
				continue
			case !yield(e.Entry, nil):
				return
			}
		}
		if ctx.Err() != nil {
			yield(Entry{}, context.Cause(ctx))
		}
	}
}

// entry is an Entry that is being read.
type entry struct {
	Entry
	found   sink.Found
	done    chan struct{} // closed when it is read
	listErr error         // if it is set, nothing was found, and nothing follows
}

// reader reads all that is found.
type reader struct {
	from    Catalogue
	found   chan *entry // to be read
	inOrder chan *entry // all, in the order of the points
}

// list sends what is below a folder to be read.
func (r reader) list(ctx context.Context, below string) {
	defer close(r.inOrder)
	defer close(r.found)
	for found, err := range r.from.Points(ctx, below) {
		e := &entry{found: found, done: make(chan struct{}), listErr: err}
		select {
		case r.inOrder <- e:
		case <-ctx.Done():
			return
		}
		if err != nil {
			close(e.done)
			return
		}
		select {
		case r.found <- e:
		case <-ctx.Done():
			close(e.done)
			return
		}
	}
}

// read reads what is found until nothing more is.
func (r reader) read(ctx context.Context) {
	raw := bytes.NewBuffer(make([]byte, 0, usualManifest))
	for e := range r.found {
		e.Entry = readEntry(ctx, r.from, e.found, raw)
		close(e.done)
		if raw.Cap() > 1<<20 { // one that is far larger than others is not kept
			raw = bytes.NewBuffer(make([]byte, 0, usualManifest))
		}
	}
}

// readEntry reads a point that was found, by way of a buffer.
func readEntry(ctx context.Context, from Catalogue, found sink.Found, raw *bytes.Buffer) Entry {
	e := Entry{Dir: found.Dir}
	e.Manifest, e.Err = read(ctx, from, found.Dir, raw)
	e.Marks = ReadMarks(ctx, from, found.Dir, found.Marks...)
	return e
}
