package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// world is one host with all that surrounds a worker: an Engine with containers
// that keep writing, a message server, a sink, and the workers themselves, which
// are processes of the real program. What happens to any of them, [world.verify]
// must hold afterwards. It knows the released contract and nothing else.
//
// Worlds on one Engine and one server do not meet, and may be run side by side.
type world struct {
	t                   *testing.T
	engine              *dockertest.Engine
	server              *bustest.Process // nil if there are several
	url, user, password string           // of the message server
	js                  jetstream.JetStream
	// host is the host's id. It is random, and the label of the containers too.
	host   string
	sink   string
	bucket *s3test.Server // that the sink lies in; nil for one that is a folder
	layers bool           // the sink has each layer once
	pushes bool           // the Engine reaches the workers' registries
	// registries are how the names of images in those begin.
	registries []string
	offsite    string // another sink, that points are copied to
	// offsiteLayers is as layers, of that sink.
	offsiteLayers bool
	// offsiteBucket is as bucket, of that sink.
	offsiteBucket *s3test.Server
	registry      *inRegistry // in which that of the workers lies; nil for none
	image         string
	workers       map[string]*worker   // the last one of each state dir
	busy          map[string]*busy     // the containers, by name
	stored        []storedEvent        // what was read of the host's events
	next          uint64               // where to read on
	digests       map[string]artifacts // of the sink's files that were read
}

// busy is a container that keeps writing.
type busy struct {
	id string
	// state is the one that it must be in.
	state events.State
	lines int // that it had written when last looked at
}

// storedEvent is a message in the stream of events.
type storedEvent struct {
	event.Event
	sequence uint64
	content  string // all of it, to be compared
}

// worldOptions changes a world. The zero value is one with a server and a sink
// of its own, on the private Engine that the tests share.
type worldOptions struct {
	engine  *dockertest.Engine
	server  *bustest.Process
	cluster *bustest.Servers // in place of a server
	sink    string
	bucket  bool // the sink lies in a bucket
	layers  bool // the sink has each layer once
	// offsiteLayers has the sink that points are copied to have each layer once.
	offsiteLayers bool
	// registry has the sink lie in a registry that the Engine reaches, and has each layer once.
	registry bool
	// certified has the workers and the Engine reach that registry where the Engine has to know who has
	// signed its certificate: in the Engine's network.
	certified bool
	pushes    bool // so it has, and the Engine reaches the workers, to push
	// offsiteBucket has the sink that points are copied to lie in one.
	offsiteBucket bool
}

// bucketPrefix is where in its bucket a world's sink lies.
const bucketPrefix = "some/prefix"

// inBucket is the folder of a world's sink in a bucket: the server keeps objects as files.
func inBucket(server *s3test.Server) string {
	return filepath.Join(server.Dir, s3test.Bucket, bucketPrefix)
}

// newWorld makes a world that ends with the test.
func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	w := &world{t: t, engine: o.engine, server: o.server, sink: o.sink, next: 1,
		host: fmt.Sprintf("w%08x", rand.Uint32()), workers: map[string]*worker{}, busy: map[string]*busy{}, digests: map[string]artifacts{}}
	if w.engine == nil {
		w.engine = sharedEngine(t)
	}
	replicas := 1
	if o.cluster != nil {
		replicas = len(o.cluster.Nodes)
		w.url, w.user, w.password = o.cluster.URL, o.cluster.User, o.cluster.Password
	} else {
		if w.server == nil {
			w.server = bustest.Server(t)
		}
		w.url, w.user, w.password = w.server.URL, w.server.User, w.server.Password
	}
	w.layers, w.pushes, w.offsiteLayers = o.layers || o.pushes, o.pushes, o.offsiteLayers
	if o.bucket {
		w.bucket = s3test.Start(t)
		w.sink = inBucket(w.bucket)
	}
	if o.registry {
		w.registry = newInRegistry(w, o)
	}
	if o.offsiteBucket {
		w.offsiteBucket = s3test.Start(t)
		w.offsite = inBucket(w.offsiteBucket)
	}
	if w.sink == "" {
		w.sink = t.TempDir()
	}
	if w.offsite == "" {
		w.offsite = t.TempDir()
	}
	w.image = "holdfast-test/writer:" + w.host
	w.engine.ImportImage(t, w.image)
	w.connect()
	w.holdfast([]string{fmt.Sprint("HOLDFAST_NATS_REPLICAS=", replicas)}, "provision", "--host-id", w.host)
	return w
}

// sharedPrivate is the private Engine that those tests share that leave its
// daemon alone.
var sharedPrivate = sync.OnceValues(func() (*dockertest.Engine, error) {
	e, err := dockertest.Open(dockertest.Options{})
	if err == nil {
		removeAtEnd(e.Close)
	}
	return e, err
})

func sharedEngine(t *testing.T) *dockertest.Engine {
	t.Helper()
	e, err := sharedPrivate()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// shared is what the worlds of this process have together. What was made is
// removed by [withEngine].
var shared struct {
	sync.Mutex
	remove []func() error
}

// removeAtEnd has something removed when all tests are through.
func removeAtEnd(remove func() error) {
	shared.Lock()
	defer shared.Unlock()
	shared.remove = append(shared.remove, remove)
}

// removeShared removes what the worlds had together, and returns an exit status.
func removeShared() int {
	var err error
	for _, remove := range shared.remove {
		err = errors.Join(err, remove())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "remove what the tests shared: %v\n", err)
		return 1
	}
	return 0
}

// connect reaches the server as a publisher and an observer, who come back
// however long it is away.
func (w *world) connect() {
	w.t.Helper()
	nc, err := nats.Connect(w.url, nats.UserInfo(w.user, w.password),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	if w.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
}

// container starts a container that keeps writing, with that many random bytes
// in it, and returns its name.
func (w *world) container(name string, payload int) string {
	w.t.Helper()
	return w.run(dockertest.Container{Name: name, Payload: payload})
}

// run starts a container of this world, and returns its name.
func (w *world) run(c dockertest.Container) string {
	w.t.Helper()
	c.Name, c.Image = w.host+"-"+c.Name, w.image
	c.Labels = maps.Clone(c.Labels)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels[testLabel] = w.host
	w.busy[c.Name] = &busy{id: w.engine.Run(w.t, c), state: events.StateRunning}
	return c.Name
}

// publish asks for a backup with these data, under this id, as an outside
// publisher does: again until the server has acknowledged it. It returns the
// job's id.
func (w *world) publish(id, data string) string {
	w.t.Helper()
	return w.ask(events.Backup, id, data)
}

// ask is publish for a request of any kind.
func (w *world) ask(kind events.Kind, id, data string) string {
	w.t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"data":%s}`, id, worldSource, kind.RequestType(), data)
	w.send(events.HostSubject(kind, w.host), body)
	return events.JobID(worldSource, id, w.host)
}

// worldSource is the source of a world's requests.
const worldSource = "/world"

func (w *world) send(subject, body string) {
	w.t.Helper()
	var last error
	w.eventually("the server takes a request", func(ctx context.Context) bool {
		_, last = w.js.Publish(ctx, subject, []byte(body))
		return last == nil
	}, func() any { return last })
}

// backup asks for a backup of these containers.
func (w *world) backup(id string, names ...string) string {
	w.t.Helper()
	return w.publish(id, fmt.Sprintf(`{"containers":{"names":["%s"]}}`, strings.Join(names, `","`)))
}

// ended waits until each of the jobs has its terminal event, and returns those
// of the last one.
func (w *world) ended(jobs ...string) (end storedEvent) {
	w.t.Helper()
	for _, job := range jobs {
		end = w.event(job, "its terminal event", func(ev storedEvent) bool { return events.Terminal(ev.Type()) })
	}
	return end
}

// event waits for an event of a job.
func (w *world) event(job, what string, is func(storedEvent) bool) (found storedEvent) {
	w.t.Helper()
	var err error
	w.eventually(fmt.Sprintf("job %s has %s", job, what), func(ctx context.Context) bool {
		err = w.read(ctx)
		i := slices.IndexFunc(w.stored, func(ev storedEvent) bool { return ev.job() == job && is(ev) })
		if i >= 0 {
			found = w.stored[i]
		}
		return i >= 0
	}, func() any { return fmt.Sprintf("%d events of the host were read, and then: %v", len(w.stored), err) })
	return found
}

// job is the id of the job that the event belongs to.
func (ev storedEvent) job() string { job, _ := ev.Extensions()[events.ExtJobID].(string); return job }

// read reads those of the host's events that were not read yet.
func (w *world) read(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, events.StreamEvents)
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	for {
		m, err := stream.GetMsg(ctx, w.next, jetstream.WithGetMsgSubject(events.EventSubject(w.host, "*", ">")))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		w.next = m.Sequence + 1
		ev, err := events.Decode(m.Header, m.Data)
		if err != nil {
			return fmt.Errorf("event %d: %w", m.Sequence, err)
		}
		w.stored = append(w.stored, storedEvent{Event: ev, sequence: m.Sequence, content: contentOf(m)})
	}
}

// contentOf is all of a message that its reader sees.
func contentOf(m *jetstream.RawStreamMsg) string {
	var b strings.Builder
	fmt.Fprintln(&b, m.Subject)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		if strings.HasPrefix(name, "ce-") {
			fmt.Fprintln(&b, name, m.Header[name])
		}
	}
	b.Write(m.Data)
	return b.String()
}

// worldPatience bounds how long a world is waited for. The longest that is due is
// two minutes: until the server delivers again what a dead worker did not
// acknowledge, the first time perhaps to a pull that the dead one left. The rest is
// for a machine that is busy: a test that fails now and then is worse than one that
// fails late.
const worldPatience = 3 * time.Minute

// eventually waits for what others do, and says at its end why not.
func (w *world) eventually(what string, ok func(context.Context) bool, why func() any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), worldPatience)
	defer cancel()
	for !within(ctx, ok) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("in %s it does not come to this: %s: %v", worldPatience, what, why())
		}
	}
}

// within bounds one look: what is asked may be frozen.
func within(ctx context.Context, ok func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return ok(ctx)
}
