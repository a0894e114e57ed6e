package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"
	pkgsftp "github.com/pkg/sftp"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// try does something over the connection, and again over another one if that is lost, as
// long as it makes sense.
func (s *Store) try(ctx context.Context, key string, f func(l *link) error) error {
	pause := backoff.NewExponentialBackOff()
	var lost time.Time
	for {
		l, err := s.connected(ctx)
		if err == nil {
			err = f(l)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case decided(err):
			return s.because(ctx, l, key, err)
		case lost.IsZero():
			lost = time.Now()
			continue // mostly the server is there
		case time.Since(lost) > s.times.patience:
			return fmt.Errorf("%s: %w: %w", s.Place(key), sink.ErrUnavailable, err)
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// ours are the errors that have all in them that a caller needs.
func ours(err error) bool {
	for _, known := range []error{
		sink.ErrUnavailable, sink.ErrFull, sink.ErrNotFound, sink.ErrExists, sink.ErrRange, object.ErrChanged, object.ErrCannotCopy,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// answered reports whether an error is the server's answer, and not that of the connection.
func answered(err error) bool {
	var status *pkgsftp.StatusError
	return errors.As(err, &status) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)
}

func decided(err error) bool { return ours(err) || answered(err) || errors.Is(err, errVanished) }

// Codes of later versions of the protocol, which some servers use.
const (
	noSpace       = 14
	quotaExceeded = 15
)

// lowSpace is the free space, in bytes, below which a failure means a full disk.
const lowSpace = 16 << 20

// because completes an answer of the server: it names the place and what it means.
func (s *Store) because(ctx context.Context, l *link, key string, err error) error {
	if ours(err) {
		return err
	}
	place := s.Place(key)
	var status *pkgsftp.StatusError
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: the server does not permit it: %w; give the folder to %s, with all rights",
			place, sink.ErrUnavailable, err, s.o.User)
	case !errors.As(err, &status):
	case status.Code == noSpace, status.Code == quotaExceeded:
		return fmt.Errorf("%s: %w: %w; make room", place, sink.ErrFull, err)
	default:
		err = s.failure(ctx, l, err)
		if errors.Is(err, sink.ErrFull) {
			return fmt.Errorf("%s: %w", place, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", place, sink.ErrUnavailable, err)
}

// failure finds out what an error means that does not say it.
func (s *Store) failure(ctx context.Context, l *link, err error) error {
	disk, derr := s.disk(ctx, l)
	switch {
	case derr != nil:
		return fmt.Errorf("%w; the server does not say more: look at its disk, quotas and logs", err)
	case disk.Flag&readOnlyFlag != 0:
		return fmt.Errorf("the server's file system is read-only: %w; mount it writable", err)
	case disk.Frsize*disk.Bavail < lowSpace:
		return fmt.Errorf("%w: %d bytes are free on the server: %w; make room", sink.ErrFull, disk.Frsize*disk.Bavail, err)
	}
	return fmt.Errorf("%w; the server does not say more: look at its quotas and logs", err)
}

// readOnlyFlag is that of a file system that is mounted so.
const readOnlyFlag = 1

// disk returns what is known of the file system in which the sink lies.
func (s *Store) disk(ctx context.Context, l *link) (*pkgsftp.StatVFS, error) {
	if !l.has(extStatVFS) {
		return nil, fmt.Errorf("%s: the server does not tell how much is free", s.Place(""))
	}
	return call(ctx, l, 0, func() (*pkgsftp.StatVFS, error) { return l.client.StatVFS(s.path("")) })
}

// TellsFree reports whether the server tells how much is free.
func (s *Store) TellsFree(ctx context.Context) (tells bool, err error) {
	err = s.try(ctx, "", func(l *link) error {
		tells = l.has(extStatVFS)
		return nil
	})
	return tells, err
}

// Free implements [sink.Spacer]: it returns how many bytes the user may still write.
func (s *Store) Free(ctx context.Context) (free int64, err error) {
	err = s.try(ctx, "", func(l *link) error {
		disk, err := s.disk(ctx, l)
		if errors.Is(err, os.ErrNotExist) {
			return s.absent()
		}
		if err == nil {
			free = int64(disk.Frsize * disk.Bavail)
		}
		return err
	})
	return free, err
}

// absent is reported where the sink's folder is not there.
func (s *Store) absent() error {
	return fmt.Errorf("%s: %w: the folder is not there; is the disk mounted on the server? A new sink needs a folder that %s has made",
		s.Place(""), sink.ErrUnavailable, s.o.User)
}

// cut is reported where a file is shorter than what the server has taken of it.
func cut(at int64) error {
	return fmt.Errorf("it ends at byte %d: %w", at, io.ErrUnexpectedEOF)
}
