package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

// A small object is a dozen requests, with a few hundred bytes each. The connection is cut
// in every one of them, before and after the server has it.
func TestCutWhileAnObjectIsPut(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	for _, d := range []flaky.Direction{flaky.ToServer, flaky.ToClient} {
		for after := int64(0); after < 1500; after += 150 {
			content := fmt.Appendf(nil, "cut after %d bytes in direction %d", after, d)
			must(t, s.Put(t.Context(), "warm", nil))
			proxy.CutAfter(d, after)
			must(t, s.Put(t.Context(), "a/b", content))
			holds(t, filepath.Join(server.Dir, "a/b"), content)
			if err := s.PutNew(t.Context(), fmt.Sprint("new/", d, after), content); !errors.Is(err, sink.ErrExists) {
				must(t, err)
			}
			holds(t, filepath.Join(server.Dir, fmt.Sprint("new/", d, after)), content)
		}
	}
	must(t, s.Sweep(t.Context(), "")) // of what was cut off, not every end is known
	for entry, err := range s.List(t.Context(), "") {
		must(t, err)
		must(t, s.Delete(t.Context(), entry.Key))
	}
	only(t, server.Dir)
	if proxy.Accepted() < 15 {
		t.Errorf("there were %d connections: few were cut", proxy.Accepted())
	}
}

func TestCutInAnUpload(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	content := pattern(48 << 20)
	s, proxy := through(t, server)
	for _, after := range []int64{0, 1 << 20, 5<<20 + 1, 30 << 20, 47 << 20} {
		before := proxy.Carried(flaky.ToServer)
		u := begin(t, s, "up/x")
		proxy.CutAfter(flaky.ToServer, after)
		write(t, u, content)
		must(t, u.Commit())
		holds(t, filepath.Join(server.Dir, "up/x"), content)
		only(t, server.Dir, "up/x")
		if cost := proxy.Carried(flaky.ToServer) - before - int64(len(content)); cost > 18<<20 {
			t.Errorf("the cut after %d bytes cost %d bytes", after, cost)
		}
	}
}

// Every request of the end of an upload is cut off once.
func TestCutWhileAnUploadIsCommitted(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	for _, d := range []flaky.Direction{flaky.ToServer, flaky.ToClient} {
		for after := int64(0); after < 1200; after += 100 {
			u := begin(t, s, "up/x")
			proxy.CutAfter(d, after)
			write(t, u, fmt.Appendf(nil, "%d", after))
			must(t, u.Commit())
			holds(t, filepath.Join(server.Dir, "up/x"), fmt.Appendf(nil, "%d", after))
			only(t, server.Dir, "up/x")
		}
	}
}

// A reader reports the cut, and the sink above it goes on from there.
func TestCutWhileReading(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	content := pattern(20 << 20)
	must(t, os.WriteFile(filepath.Join(server.Dir, "x"), content, 0o600))
	over, err := object.Open(t.Context(), s, "", "")
	must(t, err)
	for _, after := range []int64{10_000, 9 << 20} {
		r, err := over.Open(t.Context(), "x")
		must(t, err)
		proxy.CutAfter(flaky.ToClient, after)
		got, err := io.ReadAll(r)
		must(t, errors.Join(err, r.Close()))
		if !bytes.Equal(got, content) {
			t.Errorf("%d bytes are read, or others than the %d that are there", len(got), len(content))
		}
	}
}

// SSH notices every byte that is changed on the way.
func TestCorruptedOnTheWay(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	content := pattern(8 << 20)
	u := begin(t, s, "x")
	proxy.Corrupt(flaky.ToServer, 3<<20)
	write(t, u, content)
	must(t, u.Commit())
	holds(t, filepath.Join(server.Dir, "x"), content)
	proxy.Corrupt(flaky.ToClient, 3<<20)
	r, _, err := s.Open(t.Context(), "x", 0, -1, "")
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, r.Close())
	if err == nil || !bytes.HasPrefix(content, got) {
		t.Errorf("%d bytes are read, changed or without an error: %v", len(got), err)
	}
}

// What the server had acknowledged may be lost if it was restarted: then the upload fails.
func TestTheServerLosesWhatItHadAcknowledged(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	u := begin(t, s, "x")
	write(t, u, pattern(33<<20))
	server.Stop()
	must(t, os.Truncate(hiddenIn(t, server.Dir), 1<<20))
	server.Start()
	_, err := u.Write(pattern(33 << 20))
	if err == nil {
		err = u.Commit()
	}
	wants(t, "go on", err, sink.ErrUnavailable, "lost what it had acknowledged", "x")
	must(t, u.Abort(t.Context()))
	only(t, server.Dir)
}

func TestAServerThatIsRestarted(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	content := pattern(40 << 20)
	u := begin(t, s, "x")
	write(t, u, content[:20<<20])
	server.Stop()
	time.AfterFunc(time.Second, server.Start)
	write(t, u, content[20<<20:])
	must(t, u.Commit())
	holds(t, filepath.Join(server.Dir, "x"), content)
	only(t, server.Dir, "x")
}

func TestAServerThatIsGone(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	s.Hasten(300 * time.Millisecond)
	must(t, s.Put(t.Context(), "x", nil))
	server.Stop()
	_, err := s.Stat(t.Context(), "x")
	wants(t, "stat", err, sink.ErrUnavailable, s.Place("x"), "refused")
}

// A frozen server keeps its connections, and the kernel takes new ones for it.
func TestAServerThatIsFrozen(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	s.Hasten(500 * time.Millisecond)
	must(t, s.Put(t.Context(), "x", []byte("before")))
	u := begin(t, s, "up")
	server.Freeze()
	t.Cleanup(server.Thaw)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	wants(t, "put until ctx ends", s.Put(ctx, "x", []byte("cancelled")), context.Canceled)
	wants(t, "put", s.Put(t.Context(), "x", []byte("frozen")), sink.ErrUnavailable, s.Place("x"))
	_, err := s.Stat(t.Context(), "x")
	wants(t, "stat", err, sink.ErrUnavailable)
	server.Thaw()
	must(t, s.Put(t.Context(), "x", []byte("after")))
	write(t, u, []byte("goes on"))
	must(t, u.Commit())
	holds(t, filepath.Join(server.Dir, "x"), []byte("after"))
	holds(t, filepath.Join(server.Dir, "up"), []byte("goes on"))
}

// A slow connection is none that stands still.
func TestAThrottledConnection(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	s.Hasten(time.Second)
	must(t, s.Put(t.Context(), "x", nil))
	proxy.Throttle(1 << 20)
	content := pattern(5 << 20)
	u := begin(t, s, "x")
	write(t, u, content)
	must(t, u.Commit())
	if !bytes.Equal(read(t, s, "x"), content) {
		t.Error("it is read back as something else")
	}
	if proxy.Accepted() != 1 {
		t.Errorf("there were %d connections", proxy.Accepted())
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s, proxy := through(t, server)
	s.Hasten(200 * time.Millisecond)
	u := begin(t, s, "x")
	for end := time.Now().Add(10 * time.Second); proxy.Open() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is not closed")
		}
	}
	write(t, u, []byte("content"))
	must(t, u.Commit())
	holds(t, filepath.Join(server.Dir, "x"), []byte("content"))
	if proxy.Accepted() != 2 {
		t.Errorf("there were %d connections, want 2", proxy.Accepted())
	}
}

func TestAFullDisk(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{Disk: 24 << 20})
	s := sftp.New(optionsOf(server))
	free, err := s.Free(t.Context())
	if err != nil || free < 20<<20 || free > 24<<20 {
		t.Errorf("%d bytes are free of 24 MiB: %v", free, err)
	}
	u := begin(t, s, "up/x")
	_, err = u.Write(make([]byte, 60<<20))
	if err == nil {
		err = u.Commit()
	}
	wants(t, "upload", err, sink.ErrFull, s.Place("up/x"), "make room")
	must(t, os.WriteFile(filepath.Join(server.Root, "filler"), nil, 0o600))
	must(t, u.Abort(t.Context()))
	only(t, server.Root, "filler")
	if err := os.WriteFile(filepath.Join(server.Root, "filler"), make([]byte, 30<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	wants(t, "put", s.Put(t.Context(), "a/b", make([]byte, 4<<20)), sink.ErrFull, s.Place("a/b"), "make room")
	only(t, server.Root, "filler")
	must(t, os.Remove(filepath.Join(server.Root, "filler")))
	must(t, s.Put(t.Context(), "a/b", make([]byte, 4<<20)))
}

func TestAReadOnlyDisk(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{Disk: 64 << 20})
	s := sftp.New(optionsOf(server))
	must(t, s.Put(t.Context(), "x", []byte("content")))
	server.Mount("remount,ro")
	wants(t, "put", s.Put(t.Context(), "a/b", nil), sink.ErrUnavailable, s.Place("a/b"), "read-only", "mount it writable")
	wants(t, "delete", s.Delete(t.Context(), "x"), sink.ErrUnavailable, s.Place("x"), "read-only")
	if got := read(t, s, "x"); string(got) != "content" {
		t.Errorf("it reads %q", got)
	}
}

func TestNothingIsPermitted(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	must(t, s.Put(t.Context(), "x", []byte("content")))
	server.Forbid()
	for what, err := range map[string]error{
		"put": s.Put(t.Context(), "y", nil), "create": s.PutNew(t.Context(), "a/y", nil), "delete": s.Delete(t.Context(), "x"),
	} {
		wants(t, what, err, sink.ErrUnavailable, "does not permit", server.User)
	}
	_, err := s.Begin(t.Context(), "up", 0)
	wants(t, "begin", err, sink.ErrUnavailable, "does not permit", s.Place("up"))
	if got := read(t, s, "x"); string(got) != "content" {
		t.Errorf("it reads %q", got)
	}
	only(t, server.Dir, "x")
}

// The folder is never made: it may be that of a disk that is not mounted.
func TestTheFolderIsNotMade(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	must(t, os.Remove(server.Dir))
	s := sftp.New(optionsOf(server))
	_, err := object.Open(t.Context(), s, "", "")
	wants(t, "open", err, sink.ErrUnavailable, "not there", "is the disk mounted")
	must(t, os.WriteFile(server.Dir, nil, 0o600))
	wants(t, "put", s.Put(t.Context(), "a/b", nil), sink.ErrUnavailable, "not there")
	must(t, os.Remove(server.Dir))
	if _, err := os.Lstat(server.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "x"), []byte("outside"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(server.Dir, "dir")))
	must(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(server.Dir, "file")))
	must(t, os.Symlink(filepath.Join(outside, "none"), filepath.Join(server.Dir, "dangling")))
	for _, key := range []string{"dir/x", "dir/sub/y", "file", "dangling", "dangling/x"} {
		_, serr := s.Stat(t.Context(), key)
		_, _, oerr := s.Open(t.Context(), key, 0, -1, "")
		_, berr := s.Begin(t.Context(), key, 0)
		for what, err := range map[string]error{
			"stat": serr, "open": oerr, "begin": berr, "put": s.Put(t.Context(), key, nil), "create": s.PutNew(t.Context(), key, nil),
			"delete": s.Delete(t.Context(), key),
		} {
			wants(t, what+" "+key, err, sink.ErrUnavailable, "symbolic link")
		}
	}
	for entry, err := range s.List(t.Context(), "") {
		t.Errorf("%+v is listed, %v", entry, err)
	}
	must(t, s.Sweep(t.Context(), ""))
	only(t, outside, "x")
	holds(t, filepath.Join(outside, "x"), []byte("outside"))
}

// Two objects that follow one another within a second have one size here.
func TestAReplacementIsNoticedWithinASecond(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	seen := map[string]bool{}
	for i := range 5 {
		if i == 3 {
			u := begin(t, s, "x")
			write(t, u, []byte{byte(i)})
			must(t, u.Commit())
		} else {
			must(t, s.Put(t.Context(), "x", []byte{byte(i)}))
		}
		info, err := s.Stat(t.Context(), "x")
		must(t, err)
		if seen[info.Version] {
			t.Errorf("replacement %d has a version that there was before", i)
		}
		seen[info.Version] = true
	}
}

func TestModes(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	must(t, s.Put(t.Context(), "a/b/put", nil))
	must(t, s.PutNew(t.Context(), "a/c/new", nil))
	u := begin(t, s, "d/up")
	must(t, u.Commit())
	must(t, filepath.WalkDir(server.Dir, func(at string, d os.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has the mode %o, want %o", at, info.Mode().Perm(), want)
		}
		return nil
	}))
}

func TestEveryByteOfAName(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	s := sftp.New(optionsOf(server))
	var all strings.Builder
	for c := rune(1); c < 0x180; c++ {
		if c != '/' && c != '\\' {
			all.WriteRune(c)
		}
	}
	names := []string{"~", "*", "?", "-", "..x", " ", "\u2028", strings.Repeat("ü", 127)}
	for rest := all.String(); rest != ""; {
		n := min(len(rest), 100)
		for n < len(rest) && rest[n]&0xc0 == 0x80 {
			n--
		}
		names = append(names, rest[:n])
		rest = rest[n:]
	}
	for _, name := range names {
		key := name + "/" + name
		must(t, s.PutNew(t.Context(), key, []byte(name)))
		if got := read(t, s, key); string(got) != name {
			t.Errorf("%q reads as %q", key, got)
		}
		listed := 0
		for entry, err := range s.List(t.Context(), name+"/") {
			must(t, err)
			if listed++; entry.Key != key {
				t.Errorf("%q is listed as %q", key, entry.Key)
			}
		}
		if listed != 1 {
			t.Errorf("%q is listed %d times", key, listed)
		}
		must(t, s.Delete(t.Context(), key))
	}
	only(t, server.Dir)
}

// asUploader has a process of this test begin an upload with the options in the variable.
const asUploader = "HOLDFAST_TEST_SFTP_UPLOADER"

// A process dies in an upload; what it left is swept by another one.
func TestAProcessIsKilledInAnUpload(t *testing.T) {
	if os.Getenv(asUploader) != "" {
		upload(t)
		return
	}
	server := sftptest.Start(t, sftptest.Options{})
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	o := optionsOf(server)
	cmd.Env = append(os.Environ(), asUploader+"="+strings.Join([]string{o.User, fmt.Sprint(o.Port), o.Path, o.Key, o.KnownHosts}, "|"))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, len(uploading))); err != nil {
		t.Errorf("the process did not begin: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	hiddenIn(t, filepath.Join(server.Dir, "a/1"))
	s := sftp.New(o)
	must(t, s.Put(t.Context(), "a/2/x", nil))
	must(t, s.Sweep(t.Context(), "a/1/"))
	only(t, server.Dir, "a/2/x")
}

const uploading = "uploading"

func upload(t *testing.T) {
	o := strings.Split(os.Getenv(asUploader), "|")
	var port int
	_, err := fmt.Sscan(o[1], &port)
	must(t, err)
	s := sftp.New(sftp.Options{User: o[0], Host: "127.0.0.1", Port: port, Path: o[2], Key: o[3], KnownHosts: o[4]})
	u := begin(t, s, "a/1/x")
	write(t, u, make([]byte, 20<<20))
	fmt.Print(uploading)
	select {}
}
