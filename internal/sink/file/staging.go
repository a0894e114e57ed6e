package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"sync"

	"holdfast.io/holdfast/internal/sink"
)

// staging is one attempt at a point. It works in its folder by a handle, and
// never by its name: should another process take the attempt for dead and replace
// the folder, neither gets into the other's.
type staging struct {
	sink *Sink
	dir  string   // of the point
	name string   // of the attempt's folder
	all  *os.Root // the folder staging; nil after Discard
	own  *os.Root // the attempt's folder

	mu        sync.Mutex
	artifacts map[*artifact]bool // that were neither committed nor aborted
	ended     bool               // by Publish or Discard
}

var errEnded = errors.New("the attempt has ended; stage another one")

// Stage implements [sink.Stager].
func (s *Sink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	name, err := sink.AttemptName(dir, attempt)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return nil, err
	}
	t := &staging{sink: s, dir: dir, name: name, artifacts: map[*artifact]bool{}}
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := t.begin(root); err != nil {
		return nil, explain(t.place(), err)
	}
	return t, nil
}

// open takes in an artifact that is begun, unless the attempt has ended.
func (t *staging) open(a *artifact) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return errEnded
	}
	t.artifacts[a] = true
	return nil
}

// close takes out an artifact that has ended.
func (t *staging) close(a *artifact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.artifacts, a)
}

// end ends the attempt for publishing it.
func (t *staging) end() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended:
		return errEnded
	case len(t.artifacts) > 0:
		return fmt.Errorf("%s: %w", t.place(), errUnfinished)
	}
	t.ended = true
	return nil
}

// place returns the attempt's folder, for messages.
func (t *staging) place() string { return t.sink.place(path.Join(stagingName, t.name)) }

// begin makes the attempt's folder, in place of one that a dead process left.
func (t *staging) begin(root *os.Root) error {
	if _, err := t.sink.makeFolder(root, stagingName); err != nil {
		return err
	}
	all, err := openFolder(root, stagingName)
	if err != nil {
		return err
	}
	t.own, err = t.sink.replaceFolder(all, t.name)
	if err != nil {
		return errors.Join(err, all.Close())
	}
	t.all = all
	return nil
}

func (m maker) replaceFolder(at *os.Root, name string) (*os.Root, error) {
	if _, err := lstat(at, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := at.RemoveAll(name); err != nil {
		return nil, err
	}
	made, err := m.makeFolder(at, name)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, errors.New("another process stages the same attempt right now")
	}
	return openFolder(at, name)
}

// Unstage implements [sink.Stager].
func (s *Sink) Unstage(ctx context.Context, dir, attempt string) error {
	name, err := sink.AttemptName(dir, attempt)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return err
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	return explain(s.place(path.Join(stagingName, name)), unstage(root, name))
}

func unstage(root *os.Root, name string) error {
	all, err := openFolder(root, stagingName)
	if errors.Is(err, fs.ErrNotExist) { // nothing was ever staged
		return nil
	}
	if err != nil {
		return err
	}
	defer all.Close()
	if _, err := lstat(all, name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return syncFolder(all) // the process that removed it may have died before this
		}
		return err
	}
	if err := all.RemoveAll(name); err != nil {
		return err
	}
	return syncFolder(all)
}

// Discard implements [sink.Staging].
func (t *staging) Discard(context.Context) error {
	t.mu.Lock()
	t.ended = true
	left := maps.Clone(t.artifacts)
	t.mu.Unlock()
	if t.all == nil {
		return nil
	}
	// On NFS and FUSE a file that is open keeps its folder from being removed.
	for a := range left {
		_ = a.Abort() // what it leaves is removed below
	}
	err := errors.Join(t.remove(), t.own.Close(), t.all.Close())
	t.all = nil
	return explain(t.place(), err)
}

// remove removes the attempt's folder, unless it has become the point, or its name
// now means another folder.
func (t *staging) remove() error {
	own, err := t.isOwn()
	if err != nil || !own {
		return err
	}
	return t.all.RemoveAll(t.name)
}

// isOwn reports whether the attempt's folder still has its name.
func (t *staging) isOwn() (bool, error) {
	named, err := t.all.Lstat(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own, err := t.own.Stat(".")
	return err == nil && os.SameFile(named, own), err
}
