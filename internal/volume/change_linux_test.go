package volume_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/volume"
)

// hooked runs something once, when the first bytes of an archive arrive: while the
// first file is read that is larger than what is written at once.
type hooked struct {
	bytes.Buffer
	hook func()
}

func (h *hooked) Write(p []byte) (int, error) {
	if h.hook != nil {
		h.hook()
		h.hook = nil
	}
	return h.Buffer.Write(p)
}

// TestChanges: what happens to a tree while it is read is said, and the archive is
// whole all the same.
func TestChanges(t *testing.T) {
	cases := map[string]struct {
		hook func(dir string) error
		want string
	}{
		"shrinks": {
			func(dir string) error { return os.Truncate(filepath.Join(dir, "file"), 100) },
			"./file: it shrank while it was read: its end is zeros",
		},
		"grows": {
			func(dir string) error { return os.Truncate(filepath.Join(dir, "file"), 10<<20) },
			"./file: it grew while it was read: its end is left out",
		},
		"is written to": {
			func(dir string) error {
				f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.WriteAt([]byte("other"), 0)
				return errors.Join(err, os.Chtimes(filepath.Join(dir, "file"), later, later))
			},
			"./file: it was written to while it was read",
		},
		"a folder goes": {
			func(dir string) error { return os.RemoveAll(filepath.Join(dir, "folder")) },
			"./folder: it was removed before it was read",
		},
		"a link takes the place of a folder": {
			func(dir string) error {
				folder := filepath.Join(dir, "folder")
				return errors.Join(os.RemoveAll(folder), os.Symlink("/etc", folder))
			},
			"./folder: something else took its place before it was read",
		},
		"a file appears": {
			func(dir string) error {
				return errors.Join(os.WriteFile(filepath.Join(dir, "new"), nil, 0o600), os.Chtimes(dir, later, later))
			},
			"./: something in it was made or removed while it was listed",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte{'x'}, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, "folder/below"), 0o700); err != nil {
				t.Fatal(err)
			}
			out := hooked{hook: func() {
				if err := c.hook(dir); err != nil {
					t.Error(err)
				}
			}}
			report, err := volume.Archive(t.Context(), dir, &out)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(report.Changed.String(), c.want) || report.Unreadable.Count != 0 {
				t.Errorf("got %+v", report)
			}
			checked, err := volume.Check(&out.Buffer)
			if err != nil || checked.Entries != report.Entries || checked.Bytes != report.Bytes {
				t.Errorf("got %+v and %v", checked, err)
			}
		})
	}
}

// TestArchiveEnds: an archive that cannot be written or is cancelled is an error.
func TestArchiveEnds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	if _, err := volume.Archive(t.Context(), dir, failing{away}); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := volume.Archive(ctx, dir, &hooked{hook: func() { cancel(away) }}); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if _, err := volume.Archive(t.Context(), filepath.Join(dir, "nothing"), &bytes.Buffer{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestSockets: sockets are left out, and counted.
func TestSockets(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // the name of a socket is short
	for _, name := range []string{"a", "b"} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	_, report := archive(t, dir)
	if report.Sockets != 2 || report.Entries != 1 {
		t.Errorf("got %+v", report)
	}
}

// later is a time that no file has by itself.
var later = time.Now().Add(time.Hour)
