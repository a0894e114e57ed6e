package sftp_test

import (
	"errors"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

// The connection is cut in every request of a copy, before and after the server has it. No byte
// of the object crosses it.
func TestCutWhileAnObjectIsCopied(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	content := pattern(4 << 20)
	for _, d := range []flaky.Direction{flaky.ToServer, flaky.ToClient} {
		for after := int64(0); after < 2100; after += 150 {
			u := begin(t, s, "up/x")
			write(t, u, content)
			must(t, u.Commit())
			before := proxy.Carried(flaky.ToServer) + proxy.Carried(flaky.ToClient)
			proxy.CutAfter(d, after)
			must(t, s.Copy(t.Context(), "up/x", "blobs/sha256/y", int64(len(content))))
			if cost := proxy.Carried(flaky.ToServer) + proxy.Carried(flaky.ToClient) - before; cost > 64<<10 {
				t.Errorf("cut after %d bytes in direction %d it cost %d bytes", after, d, cost)
			}
			must(t, s.Delete(t.Context(), "up/x"))
			holds(t, filepath.Join(server.Dir, "blobs/sha256/y"), content)
			only(t, server.Dir, "blobs/sha256/y")
		}
	}
}

// What cannot be copied is said, and leaves nothing.
func TestCopiesThatCannotBe(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	must(t, s.Put(t.Context(), "from", []byte("one")))
	if err := s.Copy(t.Context(), "none", "to", 3); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("what is not there is copied: %v", err)
	}
	if err := s.Copy(t.Context(), "from", "to", 4); !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("what has another size is copied: %v", err)
	}
	only(t, server.Dir, "from")
	deny := sftptest.Start(t, sftptest.Options{Deny: []string{"hardlink"}})
	s = sftp.New(optionsOf(deny))
	must(t, s.Put(t.Context(), "from", []byte("one")))
	if err := s.Copy(t.Context(), "from", "to", 3); !errors.Is(err, object.ErrCannotCopy) {
		t.Errorf("without links it is copied: %v", err)
	}
	only(t, deny.Dir, "from")
}
