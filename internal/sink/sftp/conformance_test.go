package sftp_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a folder of a server.
type place struct {
	options sftp.Options
	dir     string // as the test sees it
	caveats []string
}

func (p place) Open(*testing.T) object.Store { return sftp.New(p.options) }

func (p place) Caveats() []string { return p.caveats }

// Contents has empty folders too: none may be left.
func (p place) Contents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(p.dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || at == p.dir {
			return ignoreMissing(err)
		}
		name := at[len(p.dir)+1:]
		if d.IsDir() {
			if entries, err := os.ReadDir(at); err == nil && len(entries) == 0 {
				all[name+"/"] = ""
			}
			return nil
		}
		content, err := os.ReadFile(at)
		all[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func (p place) Clear(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(p.dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func (p place) Vanish(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
}

// places returns a maker of places on a server, each in a folder of its own.
func places(t *testing.T, s *sftptest.Server, caveats ...string) func(t *testing.T) objecttest.Place {
	return func(t *testing.T) objecttest.Place {
		dir, err := os.MkdirTemp(s.Dir, "place-")
		if err != nil {
			t.Fatal(err)
		}
		options := optionsOf(s)
		options.Path = dir
		return place{options, dir, caveats}
	}
}

func optionsOf(s *sftptest.Server) sftp.Options {
	return sftp.Options{User: s.User, Host: "127.0.0.1", Port: s.Port, Path: s.Dir, Key: s.Key, KnownHosts: s.KnownHosts}
}

func TestConformance(t *testing.T) {
	s := sftptest.Start(t, sftptest.Options{})
	objecttest.Run(t, places(t, s))
}

// OpenSSH's server can be told not to know requests; its rename fails then if the target is
// there, as the protocol has it.
func TestConformanceWithoutExtensions(t *testing.T) {
	s := sftptest.Start(t, sftptest.Options{Deny: []string{"posix-rename", "hardlink", "fsync", "statvfs"}})
	objecttest.Run(t, places(t, s, "fsync@openssh.com", "posix-rename@openssh.com", "statvfs@openssh.com"))
}
