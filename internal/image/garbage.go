package image

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// Sink is what collecting garbage needs of a sink.
type Sink interface {
	sink.Reader
	sink.Lister
	sink.Sharer
}

// A blob that no point refers to is garbage. It is removed in two phases, by two runs of
// Collect: the first one leaves a mark with its time, and one after a grace removes it.
//
// Jobs of any host may store points meanwhile, which need blobs that were garbage. Who is
// to store a point removes the mark of a blob that it finds (keep), and when the point is
// published, looks whether its blobs are there and none is being removed (Intact). Who
// collects says first that a blob is being removed, and looks then once more which blobs
// points refer to. So one of the two sees the other: what counts is never removed, and
// what was removed never counts.

// mark says of a blob that it is garbage.
type mark struct {
	FormatVersion int `json:"formatVersion"`
	// Time is when it was first seen to be.
	Time time.Time `json:"time"`
	// Removing is set when the blob may be gone at any moment.
	Removing bool `json:"removing,omitempty"`
}

func markKey(digest string) string {
	return path.Join(sink.GarbageName, strings.TrimPrefix(digest, "sha256:")+".json")
}

func (m mark) put(ctx context.Context, to sink.Sharer, digest string) error {
	m.FormatVersion = entryVersion
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return to.PutShared(ctx, markKey(digest), raw)
}

// readMark returns the mark of a blob, and whether it has one. One that cannot be read
// stands for a blob that is being removed.
func readMark(ctx context.Context, from sink.Reader, digest string) (m mark, marked bool, err error) {
	raw, err := readSmall(ctx, from, markKey(digest))
	if errors.Is(err, sink.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if json.Unmarshal(raw, &m) != nil || m.FormatVersion != entryVersion {
		m.Removing = true
	}
	return m, true, nil
}

// keep has a blob not taken for garbage any more. It reports false if that comes too late.
func keep(ctx context.Context, in Sink, digest string) (bool, error) {
	m, marked, err := readMark(ctx, in, digest)
	if err != nil || !marked {
		return err == nil, err
	}
	if m.Removing {
		return false, nil
	}
	return true, in.RemoveShared(ctx, markKey(digest))
}

// ErrRemoved is wrapped by the error of a point whose blobs are not all there.
var ErrRemoved = fmt.Errorf("%w: it was removed as garbage meanwhile, or is damaged", sink.ErrUnavailable)

// removalBound is how long Intact waits for a removal to end.
const removalBound = 10 * time.Second

// Intact reports ErrRemoved unless all blobs of a point that was just published are there,
// and none is being removed.
func Intact(ctx context.Context, in Sink, m *point.Manifest) error {
	for _, a := range m.Artifacts {
		if !point.IsShared(&a) {
			continue
		}
		if err := awaitRemoval(ctx, in, a.Digest); err != nil {
			return err
		}
		info, err := in.Stat(ctx, a.Key)
		if errors.Is(err, sink.ErrNotFound) || err == nil && info.Size != a.Size {
			return fmt.Errorf("%s: %w; ask again", a.Key, ErrRemoved)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Settle is what follows the publishing of a point, before it is reported: it reports
// ErrRemoved unless the point is Intact, and removes it then from its folder dir, also when
// ctx ends. Any other error says nothing of the point, which stays as it is: whoever meets it
// there looks again.
func Settle(ctx context.Context, in sink.Sink, dir string, m *point.Manifest) error {
	err := Intact(ctx, in, m)
	if !errors.Is(err, ErrRemoved) {
		return err
	}
	if failed := in.RemovePoint(context.WithoutCancel(ctx), dir); failed != nil {
		return fmt.Errorf("remove point %s, which was not reported: %w; %v", m.ID, failed, err) //nolint:errorlint // hides ErrRemoved
	}
	return err
}

// awaitRemoval returns when a blob is not being removed.
func awaitRemoval(ctx context.Context, in Sink, digest string) error {
	ctx, cancel := context.WithTimeout(ctx, removalBound)
	defer cancel()
	for {
		kept, err := keep(ctx, in, digest)
		if err != nil || kept {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: a prune is removing it, or has died while it did; prune again, and ask again",
				sink.BlobKey(digest), ErrRemoved)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Collected is what came of collecting garbage.
type Collected struct {
	Blobs  int   // that were removed
	Bytes  int64 // of them
	Marked int   // blobs that are garbage, and stay until the grace has ended
}

// Collect removes blobs that no point refers to and that were garbage already at now less
// grace, and marks those that are garbage now. now is the stream's time. If the manifest of
// a point cannot be read, nothing is known of its blobs, and nothing is removed: that is
// an error.
func Collect(ctx context.Context, in Sink, now time.Time, grace time.Duration) (c Collected, err error) {
	blobs := map[string]int64{}
	for o, err := range in.Shared(ctx, sink.BlobsName) {
		if err != nil {
			return c, err
		}
		blobs[digestOf(o.Key)] = o.Size
	}
	marked, err := marks(ctx, in)
	if err != nil || len(blobs) == 0 && len(marked) == 0 {
		return c, err
	}
	used, err := references(ctx, in)
	if err != nil {
		return c, err
	}
	if err := unmark(ctx, in, marked, blobs, used); err != nil {
		return c, err
	}
	var due []string
	for digest := range blobs {
		since, isMarked := marked[digest]
		switch {
		case used[digest]:
			continue
		case isMarked && !now.Before(since.Add(grace)):
			due = append(due, digest)
			continue
		case !isMarked:
			if err := (mark{Time: now}).put(ctx, in, digest); err != nil {
				return c, err
			}
		}
		c.Marked++
	}
	err = c.remove(ctx, in, due, marked, blobs)
	return c, err
}

// unmark removes the marks of blobs that are needed again, and of those that are gone: an
// earlier run died after it removed them.
func unmark(ctx context.Context, in Sink, marked map[string]time.Time, blobs map[string]int64, used map[string]bool) error {
	for digest := range marked {
		if _, there := blobs[digest]; there && !used[digest] {
			continue
		}
		if err := in.RemoveShared(ctx, markKey(digest)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes blobs that are due, but for those that points refer to by now.
func (c *Collected) remove(ctx context.Context, in Sink, due []string, since map[string]time.Time, sizes map[string]int64) error {
	if len(due) == 0 {
		return nil
	}
	var removing []string
	for _, digest := range due {
		_, marked, err := readMark(ctx, in, digest) // somebody may have found it meanwhile
		if err == nil && marked {
			err = mark{Time: since[digest], Removing: true}.put(ctx, in, digest)
			removing = append(removing, digest)
		}
		if err != nil {
			return err
		}
	}
	used, err := references(ctx, in)
	if err != nil {
		return err
	}
	entries, err := entriesOf(ctx, in)
	if err != nil {
		return err
	}
	for _, digest := range removing {
		if !used[digest] {
			for _, key := range append(entries[digest], sink.BlobKey(digest)) {
				if err := in.RemoveShared(ctx, key); err != nil {
					return err
				}
			}
			c.Blobs++
			c.Bytes += sizes[digest]
		}
		if err := in.RemoveShared(ctx, markKey(digest)); err != nil {
			return err
		}
	}
	return nil
}

func digestOf(key string) string { return "sha256:" + strings.TrimSuffix(path.Base(key), ".json") }

// marks returns since when blobs are garbage, by their digests. Of a mark that cannot be
// read that is long ago.
func marks(ctx context.Context, in Sink) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	for o, err := range in.Shared(ctx, sink.GarbageName) {
		if err != nil {
			return nil, err
		}
		m, marked, err := readMark(ctx, in, digestOf(o.Key))
		if err != nil {
			return nil, err
		}
		if marked {
			all[digestOf(o.Key)] = m.Time
		}
	}
	return all, nil
}

// entriesOf returns the keys of the entries that name a blob, by its digest.
func entriesOf(ctx context.Context, in Sink) (map[string][]string, error) {
	all := map[string][]string{}
	for o, err := range in.Shared(ctx, sink.LayersName) {
		if err != nil {
			return nil, err
		}
		raw, err := readSmall(ctx, in, o.Key)
		if errors.Is(err, sink.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if e, ok := decodeEntry(raw, digestOf(o.Key)); ok {
			all[e.Digest] = append(all[e.Digest], o.Key)
		}
	}
	return all, nil
}

// references returns the digests of the blobs that points refer to, also points that are
// hidden. What a manifest says is taken as it is, whoever has signed it.
func references(ctx context.Context, in Sink) (map[string]bool, error) {
	used := map[string]bool{}
	for m, err := range manifests(ctx, in) {
		if err != nil {
			return nil, fmt.Errorf("which blobs each point needs is not known, so none is removed: %w", err)
		}
		for _, a := range m.Artifacts {
			if point.IsShared(&a) {
				used[a.Digest] = true
			}
		}
	}
	return used, nil
}
