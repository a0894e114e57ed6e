package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/objects"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

// pattern is content of which no two parts are alike, the same each time.
func pattern(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // it returns no error
	return b
}

// write writes an object, and calls meanwhile when half of it is written.
func write(ctx context.Context, s *objects.Store, key string, content []byte, meanwhile func()) error {
	u, err := s.Begin(ctx, key, 0)
	if err != nil {
		return err
	}
	half := len(content) / 2
	_, err = u.Write(content[:half])
	if meanwhile != nil {
		meanwhile()
	}
	if err == nil {
		_, err = u.Write(content[half:])
	}
	if err == nil {
		err = u.Commit()
	}
	if err != nil {
		return errors.Join(err, u.Abort(context.WithoutCancel(ctx)))
	}
	return nil
}

func read(ctx context.Context, s *objects.Store, key string, offset, length int64) ([]byte, error) {
	r, _, err := s.Open(ctx, key, offset, length, "")
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// holds fails the test unless a client of NATS reads the content, and finds its digest right.
func holds(t *testing.T, js jetstream.JetStream, key string, want []byte) {
	t.Helper()
	bucket, err := js.ObjectStore(t.Context(), "test")
	must(t, err)
	got, err := bucket.GetBytes(t.Context(), key)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, which are not the %d that were written", key, len(got), len(want))
	}
}

// leftovers fails the test if there is more in the bucket than was before.
func leftovers(t *testing.T, js jetstream.JetStream, before map[string]string) {
	t.Helper()
	if after := contents(t, js, "test"); !maps.Equal(after, before) {
		t.Errorf("there are\n%v\nand were\n%v", after, before)
	}
}

// started is a server with the bucket test.
func started(t *testing.T, c ...bustest.Config) (*bustest.Process, bus.Options, jetstream.JetStream) {
	t.Helper()
	p, o := bustest.External(t, c...)
	_, js := bustest.Operator(t, o)
	makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: "test"})
	return p, o, js
}

// behind returns the options of a store that reaches its server through a proxy.
func behind(t *testing.T, o bus.Options) (objects.Options, *flaky.Proxy) {
	t.Helper()
	proxy := flaky.New(t, strings.TrimPrefix(o.URL, "nats://"))
	through := options(t, o)
	through.Server = "nats://" + proxy.Addr()
	return through, proxy
}

func TestOtherClients(t *testing.T) {
	_, o, js := started(t)
	bucket, err := js.ObjectStore(t.Context(), "test")
	must(t, err)
	s, content := open(t, options(t, o)), pattern(5<<20+77)
	for _, size := range []int{0, 1, objects.ChunkSize, 2*objects.ChunkSize + 1, len(content)} {
		must(t, write(t.Context(), s, "ours", content[:size], nil))
		holds(t, js, "ours", content[:size])
	}
	must(t, s.Put(t.Context(), "ours", content))
	_, err = bucket.PutBytes(t.Context(), "theirs", content)
	must(t, err)
	// A bucket in which others write at the same time: the chunks do not lie in a row.
	var writing sync.WaitGroup
	for _, key := range []string{"one", "two", "three"} {
		writing.Go(func() {
			if err := write(t.Context(), s, key, content, nil); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Go(func() {
		for range 200 {
			if _, err := bucket.PutString(t.Context(), "noise", "noise"); err != nil {
				t.Error(err)
			}
		}
	})
	writing.Wait()
	for _, key := range []string{"ours", "theirs", "one", "two", "three"} {
		holds(t, js, key, content)
		for _, from := range []int{0, 1, objects.ChunkSize - 1, objects.ChunkSize, 3 << 20, len(content) - 1, len(content)} {
			for _, length := range []int{-1, 1, 300_000} {
				want := content[from:]
				if length >= 0 {
					want = want[:min(length, len(want))]
				}
				got, err := read(t.Context(), s, key, int64(from), int64(length))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s from %d on: %d bytes, want %d (%v)", key, from, len(got), len(want), err)
				}
			}
		}
	}
	must(t, bucket.Delete(t.Context(), "ours"))
	if _, err := s.Stat(t.Context(), "ours"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("what others have deleted: %v", err)
	}
	must(t, s.PutNew(t.Context(), "ours", []byte("again")))
	holds(t, js, "ours", []byte("again"))
}

// A connection that is lost costs what was on its way.
func TestConnectionCut(t *testing.T) {
	_, o, js := started(t)
	content := pattern(24 << 20)
	for name, cut := range map[string]func(*flaky.Proxy){
		"the way there": func(p *flaky.Proxy) { p.CutAfter(flaky.ToServer, 5<<20+333) },
		"the way back":  func(p *flaky.Proxy) { p.CutAfter(flaky.ToClient, 200) },
		"all":           func(p *flaky.Proxy) { p.Cut() },
		"it stands still": func(p *flaky.Proxy) {
			p.Hold(true)
			time.AfterFunc(3*time.Second, func() { p.Hold(false) })
		},
		"nobody answers for a while": func(p *flaky.Proxy) {
			p.Refuse(true)
			p.Cut()
			time.AfterFunc(2*time.Second, func() { p.Refuse(false) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			through, proxy := behind(t, o)
			s := open(t, through.WithPatience(time.Minute, 2*time.Second))
			must(t, write(t.Context(), s, "a", content, func() { cut(proxy) }))
			holds(t, js, "a", content)
			if proxy.Accepted() < 2 {
				t.Error("the connection was not cut")
			}
			must(t, s.Delete(t.Context(), "a"))
			leftovers(t, js, map[string]string{})
		})
	}
}

// Reading goes on where it was, by whoever reads again; a reader itself reports that it broke.
func TestReadingCut(t *testing.T) {
	_, o, _ := started(t)
	through, proxy := behind(t, o)
	s, content := open(t, through), pattern(24<<20)
	must(t, write(t.Context(), s, "a", content, nil))
	proxy.CutAfter(flaky.ToClient, 9<<20)
	got, err := read(t.Context(), s, "a", 0, -1)
	if !errors.Is(err, sink.ErrUnavailable) || len(got) < 4<<20 || len(got) > 10<<20 {
		t.Errorf("after %d bytes: %v", len(got), err)
	}
	rest, err := read(t.Context(), s, "a", int64(len(got)), -1)
	must(t, err)
	if !bytes.Equal(append(got, rest...), content) {
		t.Error("what was read in two parts is not what was written")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, _, err := s.Open(ctx, "a", 0, -1, "")
	must(t, err)
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
	must(t, r.Close())
}

// A chunk that is gone is an error wherever it lay, and never a short object.
func TestMissingChunk(t *testing.T) {
	_, o, js := started(t)
	s, content := open(t, options(t, o)), pattern(10*objects.ChunkSize+5)
	stream, err := js.Stream(t.Context(), "OBJ_test")
	must(t, err)
	for _, gone := range []uint64{0, 1, 5, 9, 10} {
		before, err := stream.Info(t.Context())
		must(t, err)
		must(t, write(t.Context(), s, "a", content, nil))
		first := before.State.LastSeq + 2 // behind the record of the upload
		must(t, stream.DeleteMsg(t.Context(), first+gone))
		for _, from := range []int64{0, 3 * objects.ChunkSize, 10 * objects.ChunkSize} {
			if from > int64(gone)*objects.ChunkSize {
				continue
			}
			got, err := read(t.Context(), s, "a", from, -1)
			if !errors.Is(err, sink.ErrUnavailable) || int64(len(got)) > int64(gone)*objects.ChunkSize-from {
				t.Errorf("without chunk %d, from %d on there are %d bytes: %v", gone, from, len(got), err)
			}
		}
	}
}

func TestFull(t *testing.T) {
	_, o := bustest.External(t)
	_, js := bustest.Operator(t, o)
	made := options(t, o)
	made.MaxBytes = 6 << 20
	if _, err := open(t, made).Stat(t.Context(), "a"); !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "nats object add test") {
		t.Errorf("a bucket that may not be made: %v", err)
	}
	made.Make = true
	s := open(t, made)
	must(t, s.Put(t.Context(), "small", []byte("small")))
	before := contents(t, js, "test")
	free, err := s.Free(t.Context())
	must(t, err)
	if free < 5<<20 || free >= 6<<20 {
		t.Errorf("%d bytes are free of 6 MiB", free)
	}
	err = write(t.Context(), s, "large", pattern(12<<20), nil)
	if !errors.Is(err, sink.ErrFull) || !strings.Contains(err.Error(), "nats stream edit OBJ_test") {
		t.Errorf("a bucket that is full in the middle: %v", err)
	}
	leftovers(t, js, before)
	// Full to the brim: what is there can still be removed.
	var keys []string
	for i := 0; err == nil || len(keys) == 0; i++ {
		key := fmt.Sprint("brim/", i)
		if err = s.Put(t.Context(), key, pattern(100<<10)); err == nil {
			keys = append(keys, key)
		}
	}
	for err = nil; err == nil; {
		key := fmt.Sprint("brim/x", len(keys))
		if err = s.Put(t.Context(), key, nil); err == nil {
			keys = append(keys, key)
		}
	}
	if !errors.Is(err, sink.ErrFull) {
		t.Errorf("a bucket that is full to the brim: %v", err)
	}
	for _, key := range keys {
		must(t, s.Delete(t.Context(), key))
	}
	must(t, s.Sweep(t.Context(), ""))
	leftovers(t, js, before)
}

// onABusyMachine has patience for a server that gets hardly any time: an election and the
// start of a server take long there. A chunk that went to a dead leader is missed sooner.
func onABusyMachine(o objects.Options) objects.Options {
	return o.WithPatience(5*time.Minute, 15*time.Second)
}

func TestServerRestarts(t *testing.T) {
	p, o, js := started(t)
	content := pattern(12 << 20)
	for name, end := range map[string]func(){"stopped": p.Stop, "killed": p.Kill} {
		t.Run(name, func(t *testing.T) {
			s := open(t, onABusyMachine(options(t, o)))
			must(t, write(t.Context(), s, "a", content, func() { end(); p.Start() }))
			holds(t, js, "a", content)
		})
	}
}

func TestUnavailable(t *testing.T) {
	p, o, js := started(t)
	deny := func(what string) bus.Options {
		_, o := bustest.External(t, bustest.Config{Permissions: what})
		return o
	}
	aged, discarding := options(t, o), options(t, o)
	aged.Bucket, discarding.Bucket = "aged", "discarding"
	makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: "aged", TTL: time.Hour})
	makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: "discarding"})
	stream, err := js.Stream(t.Context(), "OBJ_discarding")
	must(t, err)
	c := stream.CachedInfo().Config
	c.Discard = jetstream.DiscardOld
	_, err = js.UpdateStream(t.Context(), c)
	must(t, err)
	wrong, none, missing := options(t, o), options(t, o), options(t, o)
	wrong.Password, none.Bucket, missing.User = file(t, "hunter2"), "none", "/none"
	for name, test := range map[string]struct {
		o    objects.Options
		want string
	}{
		"wrong password":      {wrong, "does not take these credentials"},
		"no bucket":           {none, "there is no bucket none"},
		"no file":             {missing, "/none"},
		"objects that expire": {aged, "--max-age=0"},
		"the oldest goes":     {discarding, "--discard=new"},
		"denied":              {options(t, deny(`publish: { deny: "$JS.API.STREAM.INFO.>" }`)), "permissions"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, test.o).Stat(t.Context(), "a")
			if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want it to say %q", err, test.want)
			}
		})
	}
	t.Run("the bucket is deleted in the middle", func(t *testing.T) {
		s := open(t, options(t, o).WithPatience(time.Minute, 2*time.Second))
		err := write(t.Context(), s, "a", pattern(8<<20), func() { must(t, js.DeleteObjectStore(t.Context(), "test")) })
		if !errors.Is(err, sink.ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("the server is gone", func(t *testing.T) {
		s := open(t, options(t, o).WithPatience(time.Second, time.Second))
		p.Stop()
		if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "does not answer") ||
			errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// The permissions that the manual lists are enough, and without that to purge a worker can
// still store, and says what is left.
func TestLeastPermissions(t *testing.T) {
	allowed := func(more string) string {
		return `publish: { allow: ["$O.test.>", "$JS.API.STREAM.INFO.OBJ_test", "$JS.API.STREAM.MSG.GET.OBJ_test", ` +
			`"$JS.API.DIRECT.GET.OBJ_test", "$JS.API.STREAM.CREATE.OBJ_test"` + more + `] }, subscribe: { allow: "_INBOX.>" }`
	}
	_, o := bustest.External(t, bustest.Config{Permissions: allowed(`, "$JS.API.STREAM.PURGE.OBJ_test"`)})
	own := options(t, o)
	own.MaxBytes, own.Make = 1<<30, true
	s := open(t, own)
	content := pattern(3 << 20)
	must(t, write(t.Context(), s, "a", content, nil))
	must(t, s.Put(t.Context(), "a", content))
	got, err := read(t.Context(), s, "a", 1<<20, -1)
	if err != nil || !bytes.Equal(got, content[1<<20:]) {
		t.Errorf("it reads %d bytes: %v", len(got), err)
	}
	must(t, s.Sweep(t.Context(), ""))
	must(t, s.Delete(t.Context(), "a"))
	for entry, err := range s.List(t.Context(), "") {
		t.Errorf("%s is left (%v)", entry.Key, err)
	}

	_, o = bustest.External(t, bustest.Config{Permissions: `publish: { deny: "$JS.API.STREAM.PURGE.>" }`})
	_, js := bustest.Operator(t, o)
	makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: "test"})
	s = open(t, options(t, o))
	must(t, write(t.Context(), s, "a", pattern(1<<20), nil))
	must(t, s.PutNew(t.Context(), "b", []byte("b")))
	must(t, s.Put(t.Context(), "b", []byte("another")))
	holds(t, js, "a", pattern(1<<20))
	holds(t, js, "b", []byte("another"))
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "permissions") {
		t.Errorf("remove: %v", err)
	}
}

func TestRace(t *testing.T) {
	_, o, js := started(t)
	for round := range 5 {
		key := fmt.Sprint("race/", round)
		var won atomic.Int32
		var racing sync.WaitGroup
		for racer := range 8 {
			s := open(t, options(t, o))
			racing.Go(func() {
				err := s.PutNew(t.Context(), key, []byte(fmt.Sprint(racer)))
				switch {
				case err == nil && !won.CompareAndSwap(0, int32(racer+1)):
					t.Error("two have created one object")
				case err != nil && !errors.Is(err, sink.ErrExists):
					t.Error(err)
				}
			})
		}
		racing.Wait()
		holds(t, js, key, []byte(fmt.Sprint(won.Load()-1)))
	}
	if all := contents(t, js, "test"); len(all) != 5 {
		t.Errorf("there are %v", all)
	}
}

// deathEnv has the test's own program upload, until it is killed.
const deathEnv = "HOLDFAST_TEST_UPLOAD"

func TestMain(m *testing.M) {
	if os.Getenv(deathEnv) != "" {
		uploadUntilKilled()
	}
	bustest.VerifyNoLeaks(m)
}

func uploadUntilKilled() {
	parts := strings.Split(os.Getenv(deathEnv), "\n")
	s, err := objects.New(objects.Options{Bucket: "test", Server: parts[0], User: parts[1], Password: parts[2]})
	if err != nil {
		panic(err)
	}
	u, err := s.Begin(context.Background(), "dead/1/artifact", 0)
	if err != nil {
		panic(err)
	}
	for range 64 {
		if _, err := u.Write(pattern(64 << 10)); err != nil {
			panic(err)
		}
	}
	fmt.Println("written")
	select {}
}

func TestKilledProcess(t *testing.T) {
	_, o, js := started(t)
	own := options(t, o)
	s := open(t, own)
	must(t, s.Put(t.Context(), "dead/1/whole", []byte("whole")))
	alive, err := s.Begin(t.Context(), "dead/11/artifact", 0)
	must(t, err)
	_, err = alive.Write(pattern(1 << 20))
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), deathEnv+"="+strings.Join([]string{own.Server, own.User, own.Password}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := io.ReadFull(out, make([]byte, len("written"))); err != nil {
		t.Error(err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	if got := orphans(t, js); got != 2 {
		t.Errorf("there are %d unfinished uploads, want the dead and the living one", got)
	}
	must(t, s.Sweep(t.Context(), "dead/1/"))
	if got := orphans(t, js); got != 1 {
		t.Errorf("after the sweep there are %d unfinished uploads, want the living one", got)
	}
	must(t, alive.Commit())
	holds(t, js, "dead/11/artifact", pattern(1<<20))
	holds(t, js, "dead/1/whole", []byte("whole"))
	if all := contents(t, js, "test"); len(all) != 2 {
		t.Errorf("there are %v", all)
	}
}

// orphans counts the contents that belong to no object.
func orphans(t *testing.T, js jetstream.JetStream) (n int) {
	t.Helper()
	for name := range contents(t, js, "test") {
		if strings.HasPrefix(name, "$O.test.C.") {
			n++
		}
	}
	return n
}

// However far an operation has come when its process dies, afterwards there is the old object
// or the new one, and a sweep leaves nothing else.
func TestDeathAtAnyByte(t *testing.T) {
	_, o, js := started(t)
	old, replacement := pattern(3*objects.ChunkSize), pattern(2*objects.ChunkSize+1)
	direct := open(t, options(t, o))
	operations := map[string]func(ctx context.Context, s *objects.Store, key string) error{
		"replace": func(ctx context.Context, s *objects.Store, key string) error { return s.Put(ctx, key, replacement) },
		"delete":  func(ctx context.Context, s *objects.Store, key string) error { return s.Delete(ctx, key) },
		"abort": func(ctx context.Context, s *objects.Store, key string) error {
			u, err := s.Begin(ctx, key, 0)
			if err != nil {
				return err
			}
			_, err = u.Write(replacement)
			return errors.Join(err, u.Abort(ctx))
		},
	}
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			var whole, died int
			for at := int64(0); whole < 2; at += 70 + at/4 {
				must(t, direct.Put(t.Context(), "a", old))
				if dieAfter(t, o, at, func(ctx context.Context, s *objects.Store) error { return operation(ctx, s, "a") }) == nil {
					whole++
				} else {
					died++
				}
				must(t, direct.Sweep(t.Context(), ""))
				checkEither(t, direct, old, replacement, at)
				if got := orphans(t, js); got > 0 {
					t.Errorf("cut after %d bytes it leaves %d contents", at, got)
				}
			}
			if died < 5 {
				t.Errorf("it died only %d times", died)
			}
		})
	}
}

// dieAfter runs an operation whose process dies with its connection, when so many bytes were
// sent.
func dieAfter(t *testing.T, o bus.Options, at int64, operation func(context.Context, *objects.Store) error) error {
	t.Helper()
	through, proxy := behind(t, o)
	s := open(t, through.WithPatience(300*time.Millisecond, 300*time.Millisecond))
	_, err := s.Stat(t.Context(), "a") // it is connected
	must(t, err)
	proxy.CutAfter(flaky.ToServer, at)
	ctx, cancel := context.WithCancel(t.Context())
	var dying sync.WaitGroup
	dying.Go(func() {
		for ctx.Err() == nil && proxy.Open() > 0 {
			time.Sleep(time.Millisecond)
		}
		proxy.Refuse(true)
		cancel()
	})
	err = operation(ctx, s)
	cancel()
	dying.Wait()
	return err
}

func checkEither(t *testing.T, s *objects.Store, old, replacement []byte, at int64) {
	t.Helper()
	got, err := read(t.Context(), s, "a", 0, -1)
	if errors.Is(err, sink.ErrNotFound) || err == nil && (bytes.Equal(got, old) || bytes.Equal(got, replacement)) {
		return
	}
	t.Errorf("cut after %d bytes there are %d bytes: %v", at, len(got), err)
}

// The leader of a bucket with three replicas is killed in the middle of an upload.
func TestCluster(t *testing.T) {
	servers := bustest.Cluster(t, 3)
	o := bus.Options{URL: servers.URL, User: servers.User, Password: servers.Password}
	_, js := bustest.Operator(t, o)
	makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: "test", Replicas: 3})
	s, content := open(t, onABusyMachine(options(t, o))), pattern(12<<20)
	var store object.Store = s
	must(t, write(t.Context(), s, "quiet", content, nil))
	servers.Settled("OBJ_test") // other clients may read from a replica that lags behind
	holds(t, js, "quiet", content)
	leader := servers.Nodes[servers.Leader("OBJ_test")]
	must(t, write(t.Context(), s, "a", content, leader.Kill))
	got, err := read(t.Context(), s, "a", 0, -1)
	must(t, err)
	if !bytes.Equal(got, content) {
		t.Error("it is not what was written")
	}
	must(t, store.PutNew(t.Context(), "b", []byte("b")))
	if err := store.PutNew(t.Context(), "b", []byte("c")); !errors.Is(err, sink.ErrExists) {
		t.Errorf("create again: %v", err)
	}
	leader.Start()
	servers.Settled("OBJ_test")
	holds(t, js, "a", content)
	for _, key := range []string{"a", "b", "quiet"} {
		must(t, s.Delete(t.Context(), key))
	}
	leftovers(t, js, map[string]string{})
}

// Two that write at a time disturb each other's guesses, and never the order of chunks.
func TestTwoAtATime(t *testing.T) {
	_, o, js := started(t)
	content := pattern(16 << 20)
	for range 3 {
		var writing sync.WaitGroup
		for _, key := range []string{"one", "two"} {
			s := open(t, onABusyMachine(options(t, o)))
			writing.Go(func() {
				if err := write(t.Context(), s, key, content, nil); err != nil {
					t.Error(err)
				}
			})
		}
		writing.Wait()
		holds(t, js, "one", content)
		holds(t, js, "two", content)
	}
}
