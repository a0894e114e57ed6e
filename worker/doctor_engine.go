package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/transport"
)

func (d *doctor) checkEngine(ctx context.Context) {
	e, err := docker.Connect(d.cfg.Docker.Host)
	if err != nil {
		d.fail("engine", err, "correct --docker-host, DOCKER_HOST or the docker context")
		return
	}
	defer e.Close()
	about, err := e.About(ctx)
	if err != nil {
		d.fail("engine", err, engineRemedy(e.Host(), err))
		return
	}
	d.host = events.HostID(about.Name)
	if d.cfg.Host.ID != "" {
		d.host = d.cfg.Host.ID
	}
	containers, err := e.Containers(ctx)
	if err != nil {
		d.fail("engine", err, engineRemedy(e.Host(), err))
		return
	}
	d.ok("engine", "%s at %s: %s %s, images in %s, %s; host id %s", about.Name, e.Host(), cmp.Or(about.Kind, "Engine"), about.Version,
		about.Store, present.Count(len(containers), "container"), d.host)
	for _, w := range plan.EngineWarnings(about) {
		d.warn("engine", "%s", w.Message)
	}
	if about.NeedsImage && d.cfg.Helper.Image == "" {
		d.warn("engine", "%s makes no container without an image, so volumes are neither read nor written until helper.image names one",
			about.Kind)
	}
	d.checkCalls(ctx, e.Host(), e)
	d.checkReach(ctx, e)
}

// checkReach asks the Engine once whether it reaches a registry here, as a worker does
// before its first push.
func (d *doctor) checkReach(ctx context.Context, e engine.Registries) {
	if err := isReached(ctx, d.log, e); err != nil {
		d.warn("engine", "no %s, so all of an image is read: %v", pushes, err)
		return
	}
	d.ok("engine", "it reaches the worker on loopback, and pushes what is new into sinks with format: layers")
}

// isReached reports why an Engine does not reach a registry in this process; nil if it does.
func isReached(ctx context.Context, log *zap.Logger, e engine.Registries) error {
	server, err := registry.Listen(registry.Options{Credentials: engine.Credentials{User: "doctor", Password: rand.Text()}, Log: log})
	if err != nil {
		return err
	}
	return errors.Join(server.Reached(ctx, e.LookUp), server.Close())
}

// checkDirect asks the Engine whether it reaches the registry in which a sink lies, as a worker does
// before its first push there.
func (d *doctor) checkDirect(ctx context.Context, name string, s sink.Sink) {
	in, ok := sink.RepositoryOf(s)
	if !ok || !layered.Is(s) {
		return
	}
	e, err := docker.Connect(d.cfg.Docker.Host)
	if err != nil {
		return // which was said
	}
	defer e.Close()
	if err := (&transport.Direct{Engine: e}).Reached(ctx, in); err != nil {
		d.warn("sink", "%s: the bytes of images pass through the worker: %v", name, err)
		return
	}
	d.ok("sink", "%s: the Engine pushes to its registry by itself", name)
}

// engineRemedy says how to mend an Engine that cannot be asked at this address.
func engineRemedy(host string, err error) string {
	_, ofTLS := errors.AsType[*docker.TLSError](err)
	switch {
	case ofTLS:
		return "set them as the docker command takes them: see 'An Engine on another machine' in deploy/README.md"
	case errors.Is(err, fs.ErrPermission):
		return "run as root, or add this user to the group docker"
	case errors.Is(err, engine.ErrRefused), errors.Is(err, engine.ErrUnsupported), errors.Is(err, engine.ErrBadAnswer):
		return "see what answers at that address; deploy/README.md lists the calls that are needed"
	case strings.HasPrefix(host, "ssh://"):
		return "see that 'docker -H " + host + " version' answers, without a question for a password or a host key"
	}
	return "start the Docker Engine, or set --docker-host"
}

// pushes are what a few calls are for that nothing else needs.
const pushes = "push into sinks with format: layers"

// primes is what a pull is for.
const primes = "priming of bases"

// purposes say what cannot be done without a call; without the others nothing can.
var purposes = map[engine.Call]string{
	engine.CallPause:       "containers captured together",
	engine.CallStop:        "quiesce stop",
	engine.CallStart:       "quiesce stop or volumes",
	engine.CallExecCreate:  "hooks",
	engine.CallExecStart:   "hooks",
	engine.CallExecInspect: "hooks",
	engine.CallVersion:     "the name of the kind of Engine",

	engine.CallNetworks:        "networks in the points of containers",
	engine.CallPush:            pushes,
	engine.CallLookUp:          pushes,
	engine.CallPull:            primes,
	engine.CallRename:          "restores",
	engine.CallUpdate:          "restores in the place of a container",
	engine.CallCreateNetwork:   "restores",
	engine.CallRemoveNetwork:   "restores",
	engine.CallConnect:         "restores",
	engine.CallDisconnect:      "restores",
	engine.CallCreateVolume:    "restores",
	engine.CallVolumes:         "volumes",
	engine.CallInspectVolume:   "volumes",
	engine.CallRemoveVolume:    "volumes",
	engine.CallCreate:          "volumes",
	engine.CallCopy:            "volumes",
	engine.CallAttach:          "volumes",
	engine.CallWait:            "volumes",
	engine.CallRemoveContainer: "volumes",
}

// checkCalls tries every call that a backup can need, in a way that changes
// nothing.
func (d *doctor) checkCalls(ctx context.Context, host string, e engine.Prober) {
	tried := 0
	for _, call := range engine.Calls {
		err := e.Probe(ctx, call)
		refusal, refused := errors.AsType[*engine.RefusedError](err)
		purpose := purposes[call]
		switch {
		case err == nil:
			tried++
		case !refused:
			d.fail("engine", err, engineRemedy(host, err))
			return
		case !d.wants(call):
			why := "which the configuration does not ask for"
			switch {
			case slices.Contains(engine.HelperCalls, call):
				why = "which only requests for volumes need"
			case purpose == pushes:
				why = "so all of an image is read"
			case purpose == primes:
				why = "so the first push of what was built there takes longer"
			}
			d.warn("engine", "%s, %s", refusedLine(refusal, purpose), why)
		default:
			d.fail("engine", errors.New(refusedLine(refusal, cmp.Or(purpose, "backups"))),
				"allow it at the socket proxy or authorization plugin before the Engine")
		}
	}
	if tried == len(engine.Calls) {
		d.ok("engine", "all %d calls that backups need are let through", tried)
	}
}

func refusedLine(r *engine.RefusedError, purpose string) string {
	if r.Lacking != "" {
		return fmt.Sprintf("%s does not have %s %s: no %s", r.Lacking, r.Method, r.Path, purpose)
	}
	answer := strconv.Itoa(r.Status)
	if r.Answer != "" {
		answer += ", " + r.Answer
	}
	return fmt.Sprintf("%s %s is refused (%s): no %s", r.Method, r.Path, answer, purpose)
}

// wants reports whether the configuration has the worker make the call.
func (d *doctor) wants(call engine.Call) bool {
	switch call {
	case engine.CallVersion, engine.CallRename, engine.CallUpdate, engine.CallCreateNetwork, engine.CallRemoveNetwork, engine.CallConnect,
		engine.CallDisconnect, engine.CallCreateVolume, engine.CallPush, engine.CallLookUp, engine.CallPull:
		return false
	case engine.CallVolumes, engine.CallInspectVolume, engine.CallRemoveVolume, engine.CallCreate, engine.CallCopy, engine.CallAttach,
		engine.CallWait, engine.CallRemoveContainer:
		return false
	case engine.CallExecCreate, engine.CallExecStart, engine.CallExecInspect:
		return d.cfg.Policy.Hooks
	case engine.CallStop, engine.CallStart:
		return slices.Contains(d.cfg.Policy.Quiesce, events.QuiesceStop)
	default:
		return true
	}
}
