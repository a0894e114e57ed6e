package sftp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

// Much is read ahead, in whatever order the answers come.
func TestManyFoldersAreListed(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	var want []string
	for i := range 40 {
		for j := range i % 7 {
			for _, name := range []string{"manifest.json", "1/image", "1/volumes/a", "1-", "1.x", "10"} {
				want = append(want, fmt.Sprintf("points/h/%d/%d/%s", i, j, name))
			}
		}
	}
	slices.Sort(want)
	for _, key := range want {
		at := filepath.Join(server.Dir, key)
		must(t, os.MkdirAll(filepath.Dir(at), 0o700))
		must(t, os.WriteFile(at, []byte(key), 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(server.Dir, "points/h/5/empty/empty"), 0o700))
	list := func() (keys []string) {
		for entry, err := range s.List(t.Context(), "points/") {
			must(t, err)
			if entry.Size != int64(len(entry.Key)) {
				t.Errorf("%s is listed with %d bytes", entry.Key, entry.Size)
			}
			keys = append(keys, entry.Key)
		}
		return keys
	}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("%d objects are listed, want %d, or in another order", len(got), len(want))
	}
	proxy.CutAfter(flaky.ToClient, 10_000)
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("%d objects are listed over a connection that is cut, want %d", len(got), len(want))
	}
	for _, err := range s.List(t.Context(), "points/") {
		must(t, err)
		break // what reads ahead ends too
	}
	for entry, err := range s.List(t.Context(), "points/h/5/3/1/vol") {
		must(t, err)
		if entry.Key != "points/h/5/3/1/volumes/a" {
			t.Errorf("%s is listed", entry.Key)
		}
	}
}

// Folders go while they are listed.
func TestFoldersVanishWhileTheyAreListed(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, other := sftp.New(optionsOf(server)), sftp.New(optionsOf(server))
	stays := "points/h/zz/stays"
	must(t, s.Put(t.Context(), stays, nil))
	done := make(chan error)
	go func() {
		for i := range 60 {
			key := fmt.Sprintf("points/h/%d/x", i%5)
			if err := other.Put(t.Context(), key, nil); err != nil {
				done <- err
				return
			}
			if err := other.Delete(t.Context(), key); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for {
		last := object.Entry{}
		for entry, err := range s.List(t.Context(), "") {
			must(t, err)
			last = entry
		}
		if last.Key != stays {
			t.Errorf("the last one listed is %q", last.Key)
		}
		select {
		case err := <-done:
			must(t, err)
			only(t, server.Dir, stays)
			return
		case <-time.After(time.Millisecond):
		}
	}
}
