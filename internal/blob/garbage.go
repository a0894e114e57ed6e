package blob

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/internal/seal"
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
// collects says first that a blob is being removed, by an object that nobody else removes,
// and looks then once more which blobs points refer to. So one of the two sees the other:
// what counts is never removed, and what was removed never counts. Two must not collect at
// the same time: one would take back what the other has said.
//
// A sink that locks points keeps their blobs too. Those that are garbage before their lock ends
// stay, and are looked at again by each run; and a blob that was locked is there, whatever a mark
// says.

// mark says of a blob that it is garbage.
type mark struct {
	FormatVersion int `json:"formatVersion"`
	// Time is when it was first seen to be.
	Time time.Time `json:"time"`
	// Kept is set by who is to store a point and may not remove the mark: it is none any more.
	Kept bool `json:"kept,omitempty"`
}

// removal says of a blob that it may be gone at any moment.
type removal struct {
	FormatVersion int `json:"formatVersion"`
	// Time is that of the request of who removes it.
	Time time.Time `json:"time"`
}

const (
	markSuffix    = ".json"
	removalSuffix = ".removing.json"
)

func markKey(digest string) string { return garbageKey(digest, markSuffix) }

func garbageKey(digest, suffix string) string {
	return path.Join(sink.GarbageName, strings.TrimPrefix(digest, "sha256:")+suffix)
}

func (m mark) put(ctx context.Context, to sink.Sharer, digest string) error {
	m.FormatVersion = entryVersion
	return putShared(ctx, to, markKey(digest), m)
}

func (r removal) put(ctx context.Context, to sink.Sharer, digest string) error {
	r.FormatVersion = entryVersion
	return putShared(ctx, to, garbageKey(digest, removalSuffix), r)
}

func putShared(ctx context.Context, to sink.Sharer, key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return to.PutShared(ctx, key, raw)
}

// readMark returns the mark of a blob, and whether it has one that is not Kept. One that cannot
// be read is from long ago.
func readMark(ctx context.Context, from sink.Reader, digest string) (m mark, marked bool, err error) {
	raw, err := readSmall(ctx, from.Open, markKey(digest))
	if errors.Is(err, sink.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if json.Unmarshal(raw, &m) != nil || m.FormatVersion != entryVersion {
		m = mark{}
	}
	return m, !m.Kept, nil
}

// keep has a blob not taken for garbage any more. It reports false if that comes too late.
func keep(ctx context.Context, in Sink, digest string) (bool, error) {
	m, marked, err := readMark(ctx, in, digest)
	if err != nil || !marked {
		return err == nil, err
	}
	err = in.RemoveShared(ctx, markKey(digest))
	if errors.Is(err, sink.ErrMayNotRemove) {
		m.Kept = true
		err = m.put(ctx, in, digest)
	}
	if err != nil {
		return false, err
	}
	_, err = readSmall(ctx, in.Open, garbageKey(digest, removalSuffix))
	if errors.Is(err, sink.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// Hold keeps a blob that a point is going to need from being removed as garbage, if it is not too late
// for that: then Settle waits for its end.
func Hold(ctx context.Context, in Sink, digest string) error {
	_, err := keep(ctx, in, digest)
	return err
}

// Collected is what came of collecting garbage.
type Collected struct {
	Blobs  int   // that were removed
	Bytes  int64 // of them
	Marked int   // blobs that are garbage, and stay until the grace has ended
	Locked int   // blobs that are garbage, and stay until their lock has ended
}

// removalLife is how long after its request a removal is taken for that of a process that died:
// one takes minutes.
const removalLife = time.Hour

// Collect removes blobs that no point refers to and that were garbage already at now less
// grace, and marks those that are garbage now. now is the stream's time. If the manifest of
// a point cannot be read, nothing is known of its blobs, and nothing is removed: that is
// an error. The caller holds off others who collect in the same sink.
func Collect(ctx context.Context, in Sink, now time.Time, grace time.Duration) (c Collected, err error) {
	blobs := map[string]int64{}
	for o, err := range in.Shared(ctx, sink.BlobsName) {
		if err != nil {
			return c, err
		}
		blobs[digestOf(o.Key)] = o.Size
	}
	marked, removals, err := marks(ctx, in)
	if err != nil || len(blobs)+len(marked)+len(removals) == 0 {
		return c, err
	}
	used, err := references(ctx, in)
	if err != nil {
		return c, err
	}
	for digest, begun := range removals {
		if now.Sub(begun) < removalLife { // who removes it may live
			delete(blobs, digest)
			delete(marked, digest)
			delete(removals, digest)
		}
	}
	if err := unmark(ctx, in, marked, removals, blobs, used); err != nil {
		return c, err
	}
	var due []string
	for digest := range blobs {
		if used[digest] {
			continue
		}
		isDue, err := c.judge(ctx, in, digest, marked, now.Add(-grace), now)
		if err != nil {
			return c, err
		}
		if isDue {
			due = append(due, digest)
		}
	}
	err = c.remove(ctx, in, due, now, blobs)
	return c, err
}

// judge reports whether a blob that no point refers to may go, which was marked before some time
// and is not locked. One that is not marked is from now on.
func (c *Collected) judge(ctx context.Context, in Sink, digest string, marked map[string]mark, before, now time.Time) (bool, error) {
	m, isMarked := marked[digest]
	switch {
	case !isMarked:
		c.Marked++
		return false, mark{Time: now}.put(ctx, in, digest)
	case m.Time.After(before):
		c.Marked++
		return false, nil
	}
	locked, err := isLocked(ctx, in, digest)
	if locked {
		c.Locked++
	}
	return !locked, err
}

// unmark removes the marks of blobs that are needed again, those that are Kept, and those of
// blobs that are gone, and what earlier runs have left that died while they removed blobs.
func unmark(
	ctx context.Context, in Sink, marked map[string]mark, removals map[string]time.Time, blobs map[string]int64, used map[string]bool,
) error {
	for digest := range removals {
		if err := in.RemoveShared(ctx, garbageKey(digest, removalSuffix)); err != nil {
			return err
		}
	}
	for digest, m := range marked {
		if _, there := blobs[digest]; there && !used[digest] && !m.Kept {
			continue
		}
		if err := in.RemoveShared(ctx, markKey(digest)); err != nil {
			return err
		}
		delete(marked, digest)
	}
	return nil
}

// remove removes blobs that are due, but for those that points refer to by now.
func (c *Collected) remove(ctx context.Context, in Sink, due []string, now time.Time, sizes map[string]int64) error {
	if len(due) == 0 {
		return nil
	}
	for _, digest := range due {
		if err := (removal{Time: now}).put(ctx, in, digest); err != nil {
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
	for _, digest := range due {
		_, marked, err := readMark(ctx, in, digest) // who has found it meanwhile has removed that
		if err != nil {
			return err
		}
		if marked && !used[digest] {
			if err := c.erase(ctx, in, digest, entries[digest], sizes[digest]); err != nil {
				return err
			}
		}
		for _, suffix := range []string{markSuffix, removalSuffix} {
			if err := in.RemoveShared(ctx, garbageKey(digest, suffix)); err != nil {
				return err
			}
		}
	}
	return nil
}

// erase removes a blob, and the entries at these keys first, which name it. Who is to publish a
// point may have locked it meanwhile: then it stays.
func (c *Collected) erase(ctx context.Context, in Sink, digest string, entries []string, size int64) error {
	locked, err := isLocked(ctx, in, digest)
	if err != nil {
		return err
	}
	if !locked {
		for _, key := range append(entries, sink.BlobKey(digest)) {
			if err = in.RemoveShared(ctx, key); err != nil {
				break
			}
		}
		locked = sink.IsKept(err)
	}
	switch {
	case locked:
		c.Locked++
	case err != nil:
		return err
	default:
		c.Blobs++
		c.Bytes += size
	}
	return nil
}

func digestOf(key string) string { return "sha256:" + strings.TrimSuffix(path.Base(key), markSuffix) }

// marks returns the marks that there are, and when removals began, by the digests of the blobs.
// What cannot be read is from long ago.
func marks(ctx context.Context, in Sink) (all map[string]mark, removals map[string]time.Time, err error) {
	there, err := garbageIn(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	all, removals = map[string]mark{}, map[string]time.Time{}
	for digest := range there.marks {
		m, marked, err := readMark(ctx, in, digest)
		if err != nil {
			return nil, nil, err
		}
		if marked || m.Kept {
			all[digest] = m
		}
	}
	for digest := range there.removals {
		var r removal
		raw, err := readSmall(ctx, in.Open, garbageKey(digest, removalSuffix))
		switch {
		case errors.Is(err, sink.ErrNotFound):
			continue
		case err != nil:
			return nil, nil, err
		case json.Unmarshal(raw, &r) != nil:
			r = removal{}
		}
		removals[digest] = r.Time
	}
	return all, removals, nil
}

// entriesOf returns the keys of the entries that name a blob, by its digest. One that cannot be
// opened here stays, which does no harm: a blob that is not there is not relied on.
func entriesOf(ctx context.Context, in Sink) (map[string][]string, error) {
	all, names := map[string][]string{}, seal.Of(in).Names()
	for o, err := range in.Shared(ctx, sink.LayersName) {
		if err != nil {
			return nil, err
		}
		raw, err := readSmall(ctx, in.Open, o.Key)
		if errors.Is(err, sink.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range []string{digestOf(o.Key), strings.TrimSuffix(path.Base(o.Key), ".json")} {
			if e, ok := decodeEntry(raw, names, name); ok {
				all[e.Digest] = append(all[e.Digest], o.Key)
			}
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
		for _, a := range m.Shared() {
			used[a.Digest] = true
		}
	}
	return used, nil
}
