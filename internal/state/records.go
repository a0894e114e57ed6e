package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast.io/holdfast/internal/undo"
)

const (
	recordsName  = "undo"
	recordSuffix = ".json"
)

// Records are the undo records of a state dir: one file each, in a folder of their own. It
// may be used by several goroutines.
type Records struct{ dir string }

var _ undo.Store = (*Records)(nil)

// Records returns the undo records of this state dir. What a process that died was just
// writing is removed: it was not durable, so nothing was done yet.
func (d *Dir) Records() (*Records, error) {
	s := &Records{dir: filepath.Join(d.path, recordsName)}
	// A record names what is done to containers, so none may be another user's.
	if err := privateFolder(s.dir); err != nil {
		return nil, fmt.Errorf("make the folder of undo records: %w", err)
	}
	if err := removeTemporary(s.dir); err != nil {
		return nil, fmt.Errorf("remove half-written undo records: %w", err)
	}
	// The folder itself must be there after a crash of the machine.
	return s, syncFolder(d.path)
}

// Write implements [undo.Store].
func (s *Records) Write(r *undo.Record) error {
	path, err := s.path(r.ID)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode undo record %s: %w", r.ID, err)
	}
	if err := writeFile(path, append(raw, '\n')); err != nil {
		return fmt.Errorf("write undo record %s to the state dir: %w", r.ID, err)
	}
	return nil
}

// Read implements [undo.Store].
func (s *Records) Read(id string) (undo.Record, error) {
	path, err := s.path(id)
	if err != nil {
		return undo.Record{}, err
	}
	r, err := readRecord(path)
	if errors.Is(err, fs.ErrNotExist) {
		return undo.Record{}, fmt.Errorf("undo record %s: %w", id, undo.ErrNoRecord)
	}
	return r, err
}

// Remove implements [undo.Store].
func (s *Records) Remove(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove undo record %s from the state dir: %w", id, err)
	}
	return syncFolder(s.dir)
}

// List implements [undo.Store].
func (s *Records) List() ([]undo.Record, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the undo records in the state dir: %w", err)
	}
	var records []undo.Record
	var unread []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		r, err := readRecord(filepath.Join(s.dir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			unread = append(unread, err)
		default:
			records = append(records, r)
		}
	}
	return records, errors.Join(unread...)
}

func readRecord(path string) (undo.Record, error) {
	if err := checkMaker(path); err != nil {
		return undo.Record{}, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return undo.Record{}, err
	}
	r, err := undo.Decode(raw)
	switch {
	case errors.Is(err, undo.ErrNewer):
		return r, fmt.Errorf("%s is not undone: %w", path, err)
	case err != nil:
		return r, fmt.Errorf("%s is not undone; look at it, and remove it: %w", path, err)
	}
	if want := r.ID + recordSuffix; want != filepath.Base(path) {
		return r, fmt.Errorf("%s is damaged, and what it names is not undone: it holds the record %s", path, r.ID)
	}
	return r, nil
}

// path returns the file of a record, and refuses an id that leads elsewhere.
func (s *Records) path(id string) (string, error) {
	name := id + recordSuffix
	if filepath.Base(name) != name || strings.HasPrefix(name, temporary) {
		return "", fmt.Errorf("%q is not the id of an undo record", id)
	}
	return filepath.Join(s.dir, name), nil
}
