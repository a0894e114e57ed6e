package file

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

func TestExplain(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: sink.ErrFull, syscall.EDQUOT: sink.ErrFull,
		syscall.EROFS: sink.ErrUnavailable, syscall.EACCES: sink.ErrUnavailable, syscall.EPERM: sink.ErrUnavailable,
		syscall.ENOENT: sink.ErrUnavailable, syscall.ENOTCONN: sink.ErrUnavailable, syscall.ESTALE: sink.ErrUnavailable,
		syscall.EIO: sink.ErrUnavailable, syscall.ENODEV: sink.ErrUnavailable, syscall.EXDEV: sink.ErrUnavailable,
	} {
		cause := &os.PathError{Op: "write", Path: "x", Err: errno}
		err := explain("/backups/x", cause)
		if !errors.Is(err, want) || !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "/backups/x: "+want.Error()) {
			t.Errorf("%v is explained as %q, want the place, %q and the cause", errno, err, want)
		}
		if err := unavailable("/backups", cause); !errors.Is(err, want) {
			t.Errorf("%v makes the sink %q, want %q", errno, err, want)
		}
	}
	if err := explain("/backups", nil); err != nil {
		t.Errorf("no error is explained as %q", err)
	}
	odd := errors.New("odd")
	if err := explain("/backups", odd); !errors.Is(err, odd) || errors.Is(err, sink.ErrFull) || errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("an error without a name in the port is explained as %q", err)
	}
	if err := unavailable("/backups", odd); !errors.Is(err, odd) || !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("what makes a sink unusable is explained as %q", err)
	}
}
