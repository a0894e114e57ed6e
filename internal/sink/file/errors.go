package file

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"holdfast.io/holdfast/internal/sink"
)

// unanswered are the errors of a disk or server that went, or is broken.
var unanswered = []error{
	syscall.EIO, syscall.ENODEV, syscall.ENXIO, syscall.ENOTCONN, syscall.ESHUTDOWN,
	syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN,
}

// What is in the way of a sink's own folders and files.
var (
	errLink     = errors.New("is a symbolic link, and none is followed inside a sink")
	errFolder   = errors.New("is a folder")
	errNoFolder = errors.New("is not a folder")
	errModes    = errors.New("other users could read what is stored, also the secrets in container.json")
	errNoPoint  = fmt.Errorf("a folder with files but without %s has the name of the point", sink.ManifestName)
)

// explain completes an error with the place, and, where the port has a name for
// it, with that and the remedy. Only a key that is not there on reading is no
// matter of the whole sink; callers tell that apart before.
func explain(place string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sink.ErrFull), errors.Is(err, sink.ErrUnavailable): // it was explained
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w; make room there, or use another sink: %w", place, sink.ErrFull, err)
	case errors.Is(err, syscall.EROFS):
		return unavailableFor(place, "it is read-only; mount it writable", err)
	case errors.Is(err, fs.ErrPermission):
		return unavailableFor(place, "this user may not use it; look at its owner and mode", err)
	case errors.Is(err, fs.ErrNotExist):
		return unavailableFor(place, "it has gone meanwhile; is the disk mounted?", err)
	case errors.Is(err, errLink), errors.Is(err, errNoFolder), errors.Is(err, errNoPoint):
		return unavailableFor(place, "something else is in the way; move it away", err)
	case errors.Is(err, errModes):
		return unavailableFor(place, "mount it so that its files are this user's alone (CIFS: file_mode=0600,dir_mode=0700; FAT: umask=077), "+
			"or accept that with 'modes: ignored' beside the sink's url", err)
	case errors.Is(err, syscall.EXDEV):
		return unavailableFor(place, "the sink's folders are not on one file system; mount the sink as a whole", err)
	}
	for _, e := range unanswered {
		if errors.Is(err, e) {
			return unavailableFor(place, "it does not answer; look at its disk or server", err)
		}
	}
	return fmt.Errorf("%s: %w", place, err)
}

// unavailable is explain for errors that make the whole sink unusable, whatever
// their cause. A full sink stays just that.
func unavailable(place string, err error) error {
	explained := explain(place, err)
	if errors.Is(explained, sink.ErrUnavailable) || errors.Is(explained, sink.ErrFull) {
		return explained
	}
	return fmt.Errorf("%s: %w: %w", place, sink.ErrUnavailable, err)
}

func unavailableFor(place, remedy string, err error) error {
	return fmt.Errorf("%s: %w: %s: %w", place, sink.ErrUnavailable, remedy, err)
}
