package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"holdfast.io/holdfast/events"
)

// Call is one request of the Engine's API that Holdfast makes.
type Call string

// The calls that a backup of containers and images makes. What each is on the wire
// says [Call.Endpoint].
const (
	CallPing         Call = "ping"
	CallVersion      Call = "version"
	CallInfo         Call = "info"
	CallContainers   Call = "list containers"
	CallInspect      Call = "inspect container"
	CallEvents       Call = "events"
	CallCommit       Call = "commit"
	CallPause        Call = "pause"
	CallUnpause      Call = "unpause"
	CallStop         Call = "stop"
	CallStart        Call = "start"
	CallExecCreate   Call = "create exec"
	CallExecStart    Call = "start exec"
	CallExecInspect  Call = "inspect exec"
	CallImages       Call = "list images"
	CallInspectImage Call = "inspect image"
	CallSave         Call = "save image"
	CallLoad         Call = "load image"
	CallRemoveImage  Call = "remove image"
	CallNetworks     Call = "list networks"
)

// The calls that are made for volumes.
const (
	CallVolumes         Call = "list volumes"
	CallInspectVolume   Call = "inspect volume"
	CallRemoveVolume    Call = "remove volume"
	CallCreate          Call = "create container"
	CallCopy            Call = "copy into container"
	CallAttach          Call = "attach"
	CallWait            Call = "wait"
	CallRemoveContainer Call = "remove container"
)

// The calls that a push makes. Without them images are saved; without CallPull the first
// push of what was built on the Engine takes longer.
const (
	CallPush   Call = "push image"
	CallLookUp Call = "look up image"
	CallPull   Call = "pull image"
)

// The calls that only a restore makes.
const (
	CallRename        Call = "rename container"
	CallUpdate        Call = "update container"
	CallCreateNetwork Call = "create network"
	CallRemoveNetwork Call = "remove network"
	CallConnect       Call = "connect to network"
	CallDisconnect    Call = "disconnect from network"
	CallCreateVolume  Call = "create volume"
)

// Calls are all calls, in the order in which people read them.
var Calls = []Call{
	CallPing, CallVersion, CallInfo, CallContainers, CallInspect, CallEvents, CallCommit, CallPause, CallUnpause,
	CallStop, CallStart, CallExecCreate, CallExecStart, CallExecInspect, CallImages, CallInspectImage, CallSave, CallLoad, CallRemoveImage,
	CallVolumes, CallInspectVolume, CallRemoveVolume, CallCreate, CallCopy, CallAttach, CallWait, CallRemoveContainer,
	CallNetworks, CallPush, CallLookUp, CallPull,
	CallRename, CallUpdate, CallCreateNetwork, CallRemoveNetwork, CallConnect, CallDisconnect, CallCreateVolume,
}

// HelperCalls are the calls that a helper takes, those that undo its traces among
// them.
var HelperCalls = []Call{
	CallPing, CallInfo, CallContainers, CallStart, CallVolumes, CallInspectVolume, CallRemoveVolume, CallCreate, CallCopy, CallAttach,
	CallWait, CallRemoveContainer,
}

// RestoreCalls are those that bringing a container back takes beside those of a helper,
// those that undo its traces among them.
var RestoreCalls = []Call{
	CallPing, CallInfo, CallContainers, CallInspect, CallInspectImage, CallStart, CallStop, CallNetworks,
	CallRename, CallCreateNetwork, CallRemoveNetwork, CallConnect, CallDisconnect, CallCreateVolume,
}

// DrillCalls are those that a drill makes of a point, those that undo its traces among
// them.
var DrillCalls = []Call{
	CallPing, CallInfo, CallContainers, CallInspect, CallStart, CallImages, CallInspectImage, CallLoad, CallRemoveImage, CallVolumes,
	CallCreate,
	CallRemoveContainer,
}

var endpoints = map[Call][2]string{
	CallPing:         {"GET", "/_ping"},
	CallVersion:      {"GET", "/version"},
	CallInfo:         {"GET", "/info"},
	CallContainers:   {"GET", "/containers/json"},
	CallInspect:      {"GET", "/containers/{id}/json"},
	CallEvents:       {"GET", "/events"},
	CallCommit:       {"POST", "/commit"},
	CallPause:        {"POST", "/containers/{id}/pause"},
	CallUnpause:      {"POST", "/containers/{id}/unpause"},
	CallStop:         {"POST", "/containers/{id}/stop"},
	CallStart:        {"POST", "/containers/{id}/start"},
	CallExecCreate:   {"POST", "/containers/{id}/exec"},
	CallExecStart:    {"POST", "/exec/{id}/start"},
	CallExecInspect:  {"GET", "/exec/{id}/json"},
	CallImages:       {"GET", "/images/json"},
	CallInspectImage: {"GET", "/images/{name}/json"},
	CallSave:         {"GET", "/images/get"},
	CallLoad:         {"POST", "/images/load"},
	CallRemoveImage:  {"DELETE", "/images/{name}"},

	CallVolumes:         {"GET", "/volumes"},
	CallInspectVolume:   {"GET", "/volumes/{name}"},
	CallRemoveVolume:    {"DELETE", "/volumes/{name}"},
	CallCreate:          {"POST", "/containers/create"},
	CallCopy:            {"PUT", "/containers/{id}/archive"},
	CallAttach:          {"POST", "/containers/{id}/attach"},
	CallWait:            {"POST", "/containers/{id}/wait"},
	CallRemoveContainer: {"DELETE", "/containers/{id}"},
	CallNetworks:        {"GET", "/networks"},
	CallPush:            {"POST", "/images/{name}/push"},
	CallLookUp:          {"GET", "/distribution/{name}/json"},
	CallPull:            {"POST", "/images/create"},
	CallRename:          {"POST", "/containers/{id}/rename"},
	CallUpdate:          {"POST", "/containers/{id}/update"},
	CallCreateNetwork:   {"POST", "/networks/create"},
	CallRemoveNetwork:   {"DELETE", "/networks/{id}"},
	CallConnect:         {"POST", "/networks/{id}/connect"},
	CallDisconnect:      {"POST", "/networks/{id}/disconnect"},
	CallCreateVolume:    {"POST", "/volumes/create"},
}

// Endpoint returns the call's HTTP method, and its path as the Engine's API
// reference writes it, without the version in front.
func (c Call) Endpoint() (method, path string) {
	e := endpoints[c]
	return e[0], e[1]
}

// CallsFor returns the calls that a backup of the item makes from the moment that
// the item is inspected, those that undo its traces among them. With held the
// container's pause is not its commit's own; with hooks commands are run inside it.
func CallsFor(item events.PlannedItem, held, hooks bool) []Call {
	calls := []Call{CallPing}
	if len(item.Volumes) > 0 {
		calls = append(calls, HelperCalls...)
	}
	if item.Kind == events.ItemVolume {
		return calls
	}
	calls = append(calls, CallImages, CallInspectImage, CallSave)
	if item.Kind != events.ItemContainer {
		return calls // nothing is made that would have to be removed
	}
	calls = append(calls, CallRemoveImage, CallInspect, CallEvents, CallCommit)
	switch item.Quiesce {
	case events.QuiescePause:
		// A commit pauses by itself, but it may leave the container paused.
		calls = append(calls, CallUnpause)
		if held {
			calls = append(calls, CallPause)
		}
	case events.QuiesceStop:
		calls = append(calls, CallStop, CallStart)
	case events.QuiesceNone:
	}
	if hooks {
		calls = append(calls, CallExecCreate, CallExecStart, CallExecInspect)
	}
	return calls
}

// ErrRefused: a call did not reach the Engine, because a socket proxy before it or
// an authorization plugin does not allow it. Asking again does not help until
// somebody allows it. The error is a [*RefusedError].
var ErrRefused = errors.New("the call is refused")

// RefusedError says which call was refused. It is [ErrRefused].
type RefusedError struct {
	Method string // of HTTP
	Path   string // without version and query
	Status int    // of HTTP
	// Answer is what was answered, in one line of at most 300 bytes; empty if it was
	// nothing that says more than the status.
	Answer string
	// Lacking is the Engine that does not have the call, where nobody before it refuses
	// it: its kind and version.
	Lacking string
}

func (e *RefusedError) Error() string {
	if e.Lacking != "" {
		return fmt.Sprintf("%s does not have %s %s; the manual, deploy/README.md, lists what it cannot do", e.Lacking, e.Method, e.Path)
	}
	return fmt.Sprintf("%s %s is refused (%d, %s): allow it at the socket proxy or authorization plugin before the Docker Engine; "+
		"the manual, deploy/README.md, lists the calls that are needed", e.Method, e.Path, e.Status, cmp.Or(e.Answer, "no reason given"))
}

// Is makes a RefusedError ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Prober finds out beforehand whether calls would be refused. It may be used by
// several goroutines.
type Prober interface {
	// Probe asks for each of the calls in a way that changes nothing, and reports
	// ErrRefused for those that are refused, joined; ErrEngineUnavailable if there is
	// no answer within 10 s; ErrUnsupported if the answer is none that a Docker Engine
	// would give. A ping that is refused stands for all: without it there is
	// no agreeing on the API's version. That a call was let through may have been found out a
	// minute ago. A plugin that looks at more than method and path may still refuse
	// the call itself.
	Probe(ctx context.Context, calls ...Call) error
}
