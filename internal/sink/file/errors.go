package file

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"holdfast.io/holdfast/internal/sink"
)

// errLink means that a symbolic link stands where the sink has a folder or file.
var errLink = errors.New("is a symbolic link, which is never followed inside a sink; remove it")

// Causes by what they mean for the sink.
var (
	full      = []error{syscall.ENOSPC, syscall.EDQUOT}
	forbidden = []error{syscall.EROFS, fs.ErrPermission}
	silent    = []error{syscall.EIO, syscall.ENODEV, syscall.ENXIO, syscall.ENOTCONN, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN}
	vanished  = []error{fs.ErrNotExist, syscall.EXDEV}
)

// explain gives an error the meaning that the port knows for it, the place, and
// what to do.
func explain(place string, err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil || is(sink.ErrFull) || is(sink.ErrUnavailable):
		return err
	case slices.ContainsFunc(full, is):
		return fmt.Errorf("%w: make room at %s, or use another sink: %w", sink.ErrFull, place, err)
	case slices.ContainsFunc(forbidden, is):
		return fmt.Errorf("%w: access to %s is refused; look at its mount and its rights: %w", sink.ErrUnavailable, place, err)
	case slices.ContainsFunc(silent, is):
		return fmt.Errorf("%w: %s does not answer; look at its disk or server: %w", sink.ErrUnavailable, place, err)
	case slices.ContainsFunc(vanished, is):
		return fmt.Errorf("%w: %s was removed or mounted anew while it was used; is the disk mounted?: %w", sink.ErrUnavailable, place, err)
	case is(syscall.ENOTDIR):
		return fmt.Errorf("%w: a file is where %s needs a folder; remove it: %w", sink.ErrUnavailable, place, err)
	case is(errLink):
		return fmt.Errorf("%w: %s: %w", sink.ErrUnavailable, place, err)
	}
	return fmt.Errorf("%s: %w", place, err)
}

// unusable explains an error because of which the sink cannot be used at all.
func unusable(dir string, err error) error {
	err = explain(dir, err)
	if errors.Is(err, sink.ErrUnavailable) || errors.Is(err, sink.ErrFull) {
		return err
	}
	return fmt.Errorf("%w: %w", sink.ErrUnavailable, err)
}
