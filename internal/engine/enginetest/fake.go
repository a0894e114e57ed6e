// Package enginetest holds implementations of [engine.Engine] to the comments of
// that port ([Run]), and has one in memory ([Fake]).
package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Fake is an Engine in memory. It does what a Docker Engine does as far as a
// backup can tell, down to what happens when two commits of one container
// overlap; and what goes wrong is planned beforehand, see [Fault]. It may be used
// by several goroutines.
type Fake struct {
	name string

	mu         sync.Mutex
	made       int // containers and images so far; ids are made of it
	containers map[string]*container
	images     map[string]*image
	volumes    map[string]engine.Volume
	// volumeSizes are the bytes in volumes.
	volumeSizes map[string]int64
	networks    map[string]engine.Network // by their ids
	expect      *engine.Platform          // nil for what a Docker Engine says
	watchers    map[*watcher]struct{}
	faults      []*Fault
	calls       map[Op]int
	away        bool
	refused     []engine.Call
	naiveDiff   bool                         // see engine.About
	streams     bool                         // an archive is sent as it is read, and not staged first
	folders     map[string]bool              // of the Engine's host
	contents    map[string]map[string][]byte // files in volumes and folders, by the name or path of these
	helper      Helper                       // nil for what [Program] does
	asked       map[string]string            // the digests by which registries are asked for layers, by diff ids
}

var _ engine.Engine = (*Fake)(nil)

// NewFake returns an Engine on a host of this name, without containers and
// images.
func NewFake(name string) *Fake {
	return &Fake{
		name:        name,
		containers:  map[string]*container{},
		images:      map[string]*image{},
		volumes:     map[string]engine.Volume{},
		volumeSizes: map[string]int64{},
		networks:    map[string]engine.Network{},
		folders:     map[string]bool{},
		contents:    map[string]map[string][]byte{},
		watchers:    map[*watcher]struct{}{},
		calls:       map[Op]int{},
		asked:       map[string]string{},
	}
}

// Spec says how a container is made.
type Spec struct {
	Name string
	// Image is the reference or id of the image that it is made from.
	Image      string
	Labels     map[string]string
	AutoRemove bool
	// Network and Processes are the ids of other containers whose network and process
	// namespaces it uses; empty for its own.
	Network, Processes string
	// Runtime is the name of the OCI runtime that it runs in.
	Runtime string
	// Tmpfs is the path of a file system in memory, Volume that of an anonymous
	// volume; empty for none.
	Tmpfs, Volume string
	// Mounts are further mounts, of volumes that are there.
	Mounts []engine.Mount
	// StopExit is the exit code with which its process ends when it is stopped, and
	// EndsAfter how long after a start of the container it ends by itself; 0 for never.
	StopExit  int
	EndsAfter time.Duration
}

type container struct {
	Spec
	id    string
	image string // id
	state events.State
	// layers are those of the image, which may be gone.
	layers [][]byte
	// started is when it was last started.
	started time.Time
	files   map[string][]byte // what was written since it was made, by path
	script  Script            // nil for the one of all containers
	exit    int               // of its process, when it does not run

	policy   engine.RestartPolicy
	health   engine.Health
	restarts int
	// healthBound is how long its health check can take.
	healthBound time.Duration
	// config, host and endpoints are what a call of CreateContainer asked for; nil for a
	// container that was made in another way.
	config, host, endpoints map[string]any
	helper                  *engine.HelperSpec // nil for one that is no helper
}

// Add makes a container in this state. It panics if there is no such image.
func (f *Fake) Add(s Spec, state events.State) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImage(s.Image)
	if img == nil {
		panic("enginetest: no image " + s.Image)
	}
	s.Labels = merged(img.labels, s.Labels)
	c := &container{Spec: s, id: f.newID("container"), image: img.id, layers: img.layers, state: state, files: map[string][]byte{}}
	if state != events.StateCreated {
		c.started = time.Now()
	}
	f.containers[c.id] = c
	if s.Volume != "" {
		f.addVolume(engine.Volume{Name: c.anonymous()})
	}
	return c.id
}

// anonymous is the name of the container's anonymous volume.
func (c *container) anonymous() string { return c.id[:8] + "-data" }

// mounts are the container's mounts, but for those in memory.
func (c *container) mounts() []engine.Mount {
	all := slices.Clone(c.Mounts)
	if c.Volume != "" {
		all = append(all, engine.Mount{Type: "volume", Name: c.anonymous(), Source: "/nowhere/" + c.anonymous(), Destination: c.Volume})
	}
	return all
}

// merged are the labels of an image, and over them those of a container.
func merged(image, container map[string]string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, image)
	maps.Copy(labels, container)
	return labels
}

// network is the Engine's word for the network that the container uses.
func (c *container) network() string {
	switch {
	case c.helper != nil:
		return "none"
	case c.Network == "":
		return "default"
	}
	return "container:" + c.Network
}

// shares are the other containers whose namespaces the container uses.
func (c *container) shares() []string {
	var ids []string
	for _, id := range []string{c.Network, c.Processes} {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Write writes a file in a container.
func (f *Fake) Write(id, path string, content []byte) {
	f.do(id, func(c *container) { c.files[path] = content })
}

// Freeze pauses a running container, as its user.
func (f *Fake) Freeze(id string) {
	f.do(id, func(c *container) { f.pause(c) })
}

// Restart has a container run from its beginning, as its user.
func (f *Fake) Restart(id string) {
	f.do(id, func(c *container) {
		f.die(c)
		f.start(c)
	})
}

// Kill ends a container's process, as its user.
func (f *Fake) Kill(id string) {
	f.do(id, func(c *container) { f.die(c) })
}

// Set puts a container into a state in which no call of the port leaves it. It
// stands in no account.
func (f *Fake) Set(id string, state events.State) {
	f.do(id, func(c *container) { c.state = state })
}

// Remove removes a container, whatever its state.
func (f *Fake) Remove(id string) {
	f.do(id, func(c *container) {
		f.die(c)
		delete(f.containers, id)
	})
}

// State returns the state of a container; empty if it is not there.
func (f *Fake) State(id string) events.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		return c.state
	}
	return ""
}

// SetAway has every call fail, also those under way, and every stream end, until
// it is back. A commit that is under way makes no image.
func (f *Fake) SetAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
	if away {
		for w := range f.watchers {
			w.end()
		}
	}
}

func (f *Fake) isAway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.away
}

// do is for what a test does to a container that must be there.
func (f *Fake) do(id string, change func(c *container)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	if c == nil {
		panic("enginetest: no container " + id)
	}
	change(c)
}

// About implements [engine.Engine].
func (f *Fake) About(ctx context.Context) (engine.About, error) {
	if _, err := f.begin(ctx, About, ""); err != nil {
		return engine.About{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return engine.About{ID: "fake:" + f.name, Name: f.name, Version: "0.0", Store: "memory", DataRoot: DataRoot,
		OS: "linux", Architecture: runtime.GOARCH, Stages: !f.streams, CommitNeedsBase: !f.streams, NaiveDiff: f.naiveDiff,
		Leaves: f.leaves()}, nil
}

// DataRoot is the folder that a Fake says it keeps everything in.
const DataRoot = "/nowhere"

// SetNaiveDiff says that commits miss changes, as with some storage drivers.
func (f *Fake) SetNaiveDiff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.naiveDiff = true
}

// SetStreams says that images are kept as containerd keeps them: a save stages
// nothing, and a commit does not need the container's image.
func (f *Fake) SetStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams = true
}

// Time implements [engine.Engine].
func (f *Fake) Time(ctx context.Context) (time.Time, error) {
	if _, err := f.begin(ctx, Time, ""); err != nil {
		return time.Time{}, err
	}
	return time.Now(), nil
}

// Ping implements [engine.Engine].
func (f *Fake) Ping(ctx context.Context) error {
	_, err := f.begin(ctx, Ping, "")
	return err
}

// Containers implements [engine.Inventory].
func (f *Fake) Containers(ctx context.Context) ([]engine.Container, error) {
	if _, err := f.begin(ctx, Containers, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []engine.Container
	for _, c := range f.containers { // in any order
		list = append(list, engine.Container{ID: c.id, Name: c.Name, State: c.state, Labels: maps.Clone(c.Labels),
			ImageID: c.image, Network: c.network(), Mounts: c.mounts()})
	}
	return list, nil
}

// Inspect implements [engine.Containers].
func (f *Fake) Inspect(ctx context.Context, id string) (*engine.ContainerDetail, error) {
	if _, err := f.begin(ctx, Inspect, id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.container(id)
	if err != nil {
		return nil, err
	}
	d := &engine.ContainerDetail{
		ID: c.id, Name: c.Name, State: c.state, Labels: maps.Clone(c.Labels), Image: c.Image, ImageID: c.image, AutoRemove: c.AutoRemove,
		StartedAt: c.started, StopGrace: 10 * time.Second, Shares: c.shares(), Runtime: c.Runtime, ExitCode: c.exit,
		Health: c.health, HealthBound: c.healthBound, RestartCount: c.restarts, RestartPolicy: c.policy,
	}
	for name, value := range c.Labels {
		d.ConfigSize += int64(len(name) + len(value))
	}
	if d.Mounts = c.mounts(); c.Tmpfs != "" {
		d.Mounts = append(d.Mounts, engine.Mount{Type: "tmpfs", Destination: c.Tmpfs})
	}
	slices.SortFunc(d.Mounts, func(a, b engine.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	d.Raw, err = document(c)
	return d, err
}

// The methods below are called with the lock held.

func (f *Fake) container(id string) (*container, error) {
	if c := f.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: container %s", engine.ErrNotFound, id)
}

func (f *Fake) emit(a engine.Action, id, imageID string) {
	c := engine.Change{Action: a, Time: time.Now(), ImageID: imageID}
	for w := range f.watchers {
		if w.id == id {
			w.send(c)
		}
	}
}

// newID returns 64 hex digits.
func (f *Fake) newID(kind string) string {
	f.made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", f.name, kind, f.made))
	return hex.EncodeToString(sum[:])
}
