package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast.io/holdfast/internal/backup"
)

const (
	notesName  = "notes"
	noteSuffix = ".json"
)

// Notes are the notes of a state dir: one file each, in a folder of their own. It
// may be used by several goroutines.
type Notes struct{ dir string }

var _ backup.Notes = (*Notes)(nil)

// Notes returns the notes of this state dir. What a process that died was just
// writing is removed: it was not durable, so nothing was done yet.
func (d *Dir) Notes() (*Notes, error) {
	n := &Notes{dir: filepath.Join(d.path, notesName)}
	// A note names what is done to containers, so none may be another user's.
	if err := privateFolder(n.dir); err != nil {
		return nil, fmt.Errorf("make the folder of notes: %w", err)
	}
	if err := removeTemporary(n.dir); err != nil {
		return nil, fmt.Errorf("remove half-written notes: %w", err)
	}
	// The folder itself must be there after a crash of the machine.
	return n, syncFolder(d.path)
}

// Write implements [backup.Notes].
func (n *Notes) Write(note *backup.Note) error {
	path, err := n.path(note.ID())
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return fmt.Errorf("encode note %s: %w", note.ID(), err)
	}
	if err := writeFile(path, append(raw, '\n')); err != nil {
		return fmt.Errorf("write note %s to the state dir: %w", note.ID(), err)
	}
	return nil
}

// Remove implements [backup.Notes].
func (n *Notes) Remove(id string) error {
	path, err := n.path(id)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove note %s from the state dir: %w", id, err)
	}
	return syncFolder(n.dir)
}

// List implements [backup.Notes].
func (n *Notes) List() ([]backup.Note, error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, fmt.Errorf("list the notes in the state dir: %w", err)
	}
	var notes []backup.Note
	var damaged []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		note, err := readNote(filepath.Join(n.dir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			damaged = append(damaged, err)
		default:
			notes = append(notes, note)
		}
	}
	return notes, errors.Join(damaged...)
}

func readNote(path string) (backup.Note, error) {
	var note backup.Note
	if err := checkMaker(path); err != nil {
		return note, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return note, err
	}
	if err := json.Unmarshal(raw, &note); err != nil {
		return note, fmt.Errorf("%s is damaged, and what it names is not undone; look at it, and remove it: %w", path, err)
	}
	if want := note.ID() + noteSuffix; want != filepath.Base(path) {
		return note, fmt.Errorf("%s is damaged, and what it names is not undone: it holds note %s", path, note.ID())
	}
	return note, nil
}

// path returns the file of a note, and refuses an id that leads elsewhere.
func (n *Notes) path(id string) (string, error) {
	name := id + noteSuffix
	if filepath.Base(name) != name || strings.HasPrefix(name, temporary) {
		return "", fmt.Errorf("%q is not the id of a note", id)
	}
	return filepath.Join(n.dir, name), nil
}
