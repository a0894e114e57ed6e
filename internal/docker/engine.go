// Package docker is the Docker Engine as Holdfast sees it. It is the only
// importer of the Docker client.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"holdfast.io/holdfast/internal/engine"
)

// Engine is one Docker Engine. It may be used by several goroutines.
type Engine struct {
	end  endpoint
	api  *client.Client
	base *url.URL // of the API as the connection's HTTP client takes it
	idle func()   // closes idle connections

	mu       sync.Mutex
	last     answer                    // of the Engine to what it is
	comments map[string]string         // of dangling images, by id
	probed   map[engine.Call]time.Time // when a call was last let through
}

var _ engine.Engine = (*Engine)(nil)

// Connect returns the Engine at host, such as unix:///var/run/docker.sock,
// tcp://host:port or ssh://user@host. If host is empty, it is the one that the
// docker command would use (DOCKER_HOST, DOCKER_CONTEXT and the context in use,
// with their certificates). Nothing is sent: the first call tells whether the
// Engine is there, and agrees on the API's version.
func Connect(host string) (*Engine, error) {
	end, err := findEndpoint(host)
	if err != nil {
		return nil, err
	}
	e := &Engine{end: end}
	if e.api, err = client.NewClientWithOpts(append(end.options(), e.lookAtAnswers)...); err != nil {
		return nil, fmt.Errorf("set up the connection to the Docker Engine at %s: %w", end.host, err)
	}
	return e, nil
}

// lookAtAnswers has every answer pass by [answers]. The client needs its transport
// to be an [http.Transport], so that one hands its requests on.
func (e *Engine) lookAtAnswers(api *client.Client) error {
	outer, ok := api.HTTPClient().Transport.(*http.Transport)
	if !ok {
		return fmt.Errorf("the Docker client has a %T as its transport", api.HTTPClient().Transport)
	}
	inner := outer.Clone()
	for _, scheme := range []string{"http", "https"} {
		outer.RegisterProtocol(scheme, &answers{next: inner, refused: e.forgetProbes})
	}
	e.idle = inner.CloseIdleConnections

	// As the client addresses its requests.
	host, err := client.ParseHostURL(api.DaemonHost())
	if err != nil {
		return err
	}
	e.base = &url.URL{Scheme: "http", Host: host.Host, Path: host.Path}
	if outer.TLSClientConfig != nil {
		e.base.Scheme = "https"
	}
	if host.Scheme == "unix" || host.Scheme == "npipe" {
		e.base.Host, e.base.Path = client.DummyHost, ""
	}
	return nil
}

// Close closes idle connections.
func (e *Engine) Close() error {
	e.idle()
	return e.api.Close()
}

// Host returns the address that the Engine is reached at.
func (e *Engine) Host() string { return e.end.host }

// Peers returns the network addresses that the Engine is reached at; none if
// it is reached by a socket file.
func (e *Engine) Peers(ctx context.Context) []netip.AddrPort {
	host, service := e.end.network()
	if host == "" {
		return nil
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	var peers []netip.AddrPort
	for _, ip := range ips {
		peers = append(peers, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return peers
}

// aboutLife is how long an Engine's answer to what it is may be kept. It is
// asked for with every item, and Engine 20.10 starts processes to answer (GET
// /info took it 0.04 to 0.15 s here), but an Engine can be replaced by a newer
// one under a worker.
const aboutLife = time.Minute

// answer is what an Engine answered to what it is.
type answer struct {
	engine.About
	platform engine.Platform
	// ahead is how far its clock is ahead of ours, as exactly as the answer was
	// quick.
	ahead time.Duration
	at    time.Time
}

// About implements [engine.Engine]. The answer is at most a minute old.
func (e *Engine) About(ctx context.Context) (engine.About, error) {
	a, err := e.ask(ctx)
	return a.About, err
}

// Ping implements [engine.Engine].
func (e *Engine) Ping(ctx context.Context) error {
	_, err := e.api.Ping(ctx)
	if err = e.translate(err); err != nil && !errors.Is(err, engine.ErrRefused) {
		return e.unavailable(err)
	}
	return err
}

func (e *Engine) ask(ctx context.Context) (answer, error) {
	e.mu.Lock()
	last := e.last
	e.mu.Unlock()
	if time.Since(last.at) < aboutLife {
		return last, nil
	}
	asked := time.Now()
	info, err := e.api.Info(ctx)
	if err != nil {
		return answer{}, e.translate(err)
	}
	if info.ID == "" || info.Name == "" {
		return answer{}, badAnswer("it says of itself the ID %q and the Name %q", brief(info.ID), brief(info.Name))
	}
	clock, err := systemTime(info)
	if err != nil {
		return answer{}, err
	}
	kind, _ := e.kind(ctx)
	a := answer{
		About: engine.About{Kind: kind, ID: info.ID, Name: info.Name, Version: info.ServerVersion, Store: info.Driver,
			OS: info.OSType, Architecture: architecture(info.Architecture), DataRoot: info.DockerRootDir,
			Stages: !usesContainerd(info), CommitNeedsBase: !usesContainerd(info), NaiveDiff: naiveDiff(info),
			Leaves: e.leaves(kind, info), HidesCommits: kind == podmanEngine, NeedsImage: kind == podmanEngine},
		platform: platform(info, kind, e.api.ClientVersion()),
		ahead:    clock.Sub(asked),
		at:       time.Now(),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = a
	return a, nil
}

// architecture is an Engine's word for its machine, which is the kernel's, as Go names
// it; what is not known here stays as it is.
func architecture(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	case "i386", "i486", "i586", "i686":
		return "386"
	}
	return machine
}

// dockerEngine is what a Docker Engine is called here; it calls itself Engine.
const dockerEngine = "Docker Engine"

// podmanEngine is what Podman's service calls itself.
const podmanEngine = "Podman Engine"

// kind returns what the Engine calls itself; nothing if it does not tell.
func (e *Engine) kind(ctx context.Context) (kind, version string) {
	v, err := e.api.ServerVersion(ctx)
	if err != nil || len(v.Components) == 0 {
		return "", ""
	}
	if c := v.Components[0]; c.Name != "Engine" {
		return brief(c.Name), brief(c.Version)
	}
	return dockerEngine, brief(v.Version)
}

// sameClock is how far apart two readings of one clock may be, with an answer in
// between.
const sameClock = time.Second

// Time implements [engine.Engine]. An Engine that is reached by a socket file has
// this machine's clock, unless it shows another: the socket can lead into a
// virtual machine.
func (e *Engine) Time(ctx context.Context) (time.Time, error) {
	if strings.HasPrefix(e.Host(), "unix://") {
		if a, err := e.ask(ctx); err != nil {
			return time.Time{}, err
		} else if a.ahead.Abs() < sameClock {
			return time.Now(), nil
		}
	}
	info, err := e.api.Info(ctx)
	if err != nil {
		return time.Time{}, e.translate(err)
	}
	return systemTime(info)
}

// usesContainerd reports whether the Engine keeps its images in containerd, which
// sends an archive from where its layers lie. A graph driver packs them first.
func usesContainerd(info system.Info) bool {
	return slices.Contains(info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"})
}

// leaves returns what an archive can leave out. A containerd store is asked afterwards
// whether an image is complete, so it must be able to say that.
func (e *Engine) leaves(kind string, info system.Info) engine.Leaves {
	switch {
	case kind == podmanEngine:
		return engine.LeavesNothing
	case !usesContainerd(info):
		return engine.LeavesLowest
	case versions.GreaterThanOrEqualTo(e.api.ClientVersion(), contentSince):
		return engine.LeavesBlobs
	}
	return engine.LeavesNothing
}

// naiveDiff reports whether the Engine finds what a container changed by comparing
// the times and sizes of files. Its storage drivers do so but for overlay2, where
// the kernel lets them see it, and aufs.
func naiveDiff(info system.Info) bool {
	if usesContainerd(info) {
		return false
	}
	for _, status := range info.DriverStatus {
		if status[0] == "Native Overlay Diff" {
			return status[1] == "false"
		}
	}
	return slices.Contains([]string{"vfs", "fuse-overlayfs", "overlay", "devicemapper", "btrfs", "zfs"}, info.Driver)
}

func systemTime(info system.Info) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, info.SystemTime)
	if err != nil {
		return time.Time{}, badAnswer("it says that its time is %q", brief(info.SystemTime))
	}
	return t, nil
}

// translate marks the errors that the rest of the program tells apart.
func (e *Engine) translate(err error) error {
	// The client takes what [answers] reports for a connection that failed.
	if refusal, ok := errors.AsType[*engine.RefusedError](err); ok {
		return refusal
	}
	if away, ok := errors.AsType[*awayError](err); ok {
		return e.unavailable(away)
	}
	if refusal, ok := errors.AsType[*TLSError](err); ok {
		return fmt.Errorf("%w at %s: %w", engine.ErrEngineUnavailable, e.Host(), refusal)
	}
	switch {
	case err == nil:
		return nil
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", engine.ErrNotFound, err)
	case unreadable(err):
		return badAnswer("%s", brief(err.Error()))
	case client.IsErrConnectionFailed(err), errdefs.IsUnavailable(err), brokeOff(err):
		return e.unavailable(err)
	case strings.Contains(err.Error(), "no space left on device"):
		return fmt.Errorf("%w: %w", engine.ErrEngineFull, err)
	case errdefs.IsInvalidArgument(err) && wrongVersion.MatchString(err.Error()):
		return fmt.Errorf("%w: %w; unset DOCKER_API_VERSION if it is set", engine.ErrUnsupported, err)
	}
	return err
}

// wrongVersion is what an Engine answers whose API is too old or too new.
var wrongVersion = regexp.MustCompile(`client version \S+ is too (old|new)`)

// unreadable reports whether an answer was no document of the kind asked for.
func unreadable(err error) bool {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	return syntax || kind
}

// brokeOff reports whether a connection ended in the midst of an answer.
func brokeOff(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// unavailable says that the Engine does not answer. It hides how a connection
// ended: the end of a stream must not be taken for that of its content.
func (e *Engine) unavailable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w at %s: %w", engine.ErrEngineUnavailable, e.Host(), fs.ErrPermission)
	}
	return fmt.Errorf("%w at %s: %s", engine.ErrEngineUnavailable, e.Host(), brief(err.Error()))
}
