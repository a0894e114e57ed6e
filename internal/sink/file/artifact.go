package file

import (
	"context"
	"errors"
	"os"
)

// writeBackStep is after how many bytes the system is asked to begin writing
// them to the disk. It works while the next ones are made, where the sync at the
// end would wait for all of them.
const writeBackStep = 8 << 20

// artifact is an artifact that is written.
type artifact struct {
	ctx     context.Context
	staging *staging
	folder  *os.Root
	f       *os.File
	place   string
	size    int64
	begun   int64 // bytes that the system was asked to write
	err     error // the first one, which stays
	closed  bool
}

// Write appends to the artifact. After an error, and after the end of Create's
// context, nothing more is written.
func (a *artifact) Write(p []byte) (int, error) {
	if a.err == nil {
		a.err = a.ctx.Err()
	}
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.f.Write(p)
	a.err = explain(a.place, err)
	a.size += int64(n)
	if a.size-a.begun >= writeBackStep {
		beginWriteBack(a.f, a.begun, a.size-a.begun)
		a.begun = a.size
	}
	return n, a.err
}

// Close makes the artifact durable, with its name. An artifact that was not
// written whole is only closed, and the error that broke it reported again.
func (a *artifact) Close() error {
	if a.closed {
		return a.err
	}
	a.closed = true
	if a.err == nil {
		a.err = a.ctx.Err()
	}
	if a.err == nil {
		a.err = explain(a.place, a.f.Sync())
	}
	if err := a.f.Close(); a.err == nil {
		a.err = explain(a.place, err)
	}
	if a.err == nil {
		a.err = explain(a.place, syncFolder(a.folder))
	}
	err := a.folder.Close()
	if a.err == nil {
		a.err = explain(a.place, err)
	}
	if a.err == nil {
		a.staging.open--
	}
	return a.err
}

var errUnfinished = errors.New("an artifact of this attempt is not stored whole; discard the attempt")
