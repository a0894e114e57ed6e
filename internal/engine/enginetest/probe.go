package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Probe is the call of [engine.Prober].
const Probe Op = "Probe"

// callsOf are the Engine's calls that a call of the port makes.
var callsOf = map[Op][]engine.Call{
	About:        {engine.CallInfo},
	Ping:         {engine.CallPing},
	Containers:   {engine.CallContainers},
	Images:       {engine.CallImages},
	Inspect:      {engine.CallInspect},
	Commit:       {engine.CallCommit},
	Stop:         {engine.CallStop},
	Start:        {engine.CallStart},
	Pause:        {engine.CallPause},
	Unpause:      {engine.CallUnpause},
	InspectImage: {engine.CallInspectImage},
	Save:         {engine.CallSave},
	Load:         {engine.CallLoad},
	Content:      {engine.CallInspectImage},
	RemoveImage:  {engine.CallRemoveImage},

	Volumes:       {engine.CallVolumes},
	InspectVolume: {engine.CallInspectVolume},
	Dangling:      {engine.CallImages},
	Watch:         {engine.CallEvents},
	Exec:          {engine.CallExecCreate, engine.CallExecStart, engine.CallExecInspect},

	Platform:         {engine.CallInfo},
	RenameContainer:  {engine.CallRename},
	SetRestartPolicy: {engine.CallUpdate},
	Networks:         {engine.CallNetworks},
	CreateNetwork:    {engine.CallCreateNetwork},
	RemoveNetwork:    {engine.CallRemoveNetwork},
	Connect:          {engine.CallNetworks, engine.CallConnect},
	Disconnect:       {engine.CallDisconnect},
	CreateVolume:     {engine.CallInspectVolume, engine.CallCreateVolume},

	Push:   {engine.CallPush},
	Pull:   {engine.CallPull},
	LookUp: {engine.CallLookUp},

	RemoveContainer: {engine.CallRemoveContainer},
	CreateHelper:    {engine.CallInspectVolume, engine.CallCreate},
	CopyToHelper:    {engine.CallCopy},
	RunHelper:       {engine.CallAttach, engine.CallStart, engine.CallWait},
	RemoveHelper:    {engine.CallContainers, engine.CallVolumes},
}

// Refuse has these calls refused from now on, and no others.
func (f *Fake) Refuse(calls ...engine.Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = calls
}

// Probe implements [engine.Prober].
func (f *Fake) Probe(ctx context.Context, calls ...engine.Call) error {
	if _, err := f.begin(ctx, Probe, ""); err != nil {
		return err
	}
	return f.refusal(calls)
}

// refusal is the error of those calls that are refused.
func (f *Fake) refusal(calls []engine.Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, c := range calls {
		if slices.Contains(f.refused, c) {
			method, path := c.Endpoint()
			errs = append(errs, &engine.RefusedError{Method: method, Path: path, Status: 403})
		}
	}
	return errors.Join(errs...)
}

func (s *suite) probe(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	image := t.MakeImage(t, t.name("image")+":v1")
	changes := t.follow(id)
	t.must(t.Bench.Probe(t.ctx, engine.Calls...))
	t.must(t.Bench.Probe(t.ctx)) // nothing
	t.wantState(id, events.StateRunning)
	t.must(t.Pause(t.ctx, id))
	t.wantActions(t.account(changes, engine.ActionPause), engine.ActionPause)
	t.must(t.Unpause(t.ctx, id))
	if t.find(image) == nil {
		t.Errorf("a probe removed image %s", image)
	}
	ctx, cancel := context.WithCancelCause(t.ctx)
	cause := errors.New("enough")
	cancel(cause)
	t.Refuse(t) // nothing, and what was found out before is forgotten
	if err := t.Bench.Probe(ctx, engine.Calls...); !errors.Is(err, cause) {
		t.Errorf("a probe whose context has ended reports %v, want its cause", err)
	}
}

// What is refused is found out beforehand, and is told apart from what an Engine
// cannot do and from one that is away.
func (s *suite) refused(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	image := t.MakeImage(t, t.name("image")+":v1")
	attempts := t.attempts(id, image)
	for _, call := range engine.Calls {
		ctx, cancel := context.WithTimeout(tt.Context(), patience) // for each: there are many
		t.ctx = ctx
		t.Refuse(t, call)
		// The others first: what was let through is not tried again.
		others := slices.DeleteFunc(slices.Clone(engine.Calls), func(c engine.Call) bool { return c == call })
		if err := t.Bench.Probe(t.ctx, others...); err != nil && call != engine.CallPing {
			t.Errorf("with %s refused, the others are reported as %v", call, err)
		}
		t.wantRefused("a probe", t.Bench.Probe(t.ctx, engine.Calls...), call)
		if attempt := attempts[call]; attempt != nil {
			t.wantRefused("the call itself", attempt(), call)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(tt.Context(), patience)
	defer cancel()
	t.ctx = ctx
	t.Refuse(t)
	t.must(t.Bench.Probe(t.ctx, engine.Calls...))
	t.wantState(id, events.StateRunning)
}

// attempts are the calls themselves, done to a running container and an image.
func (t *test) attempts(id, image string) map[engine.Call]func() error {
	ref := engine.SnapshotReference(t.name("refused"))
	gone := strings.Repeat("0123456789abcdef", 4)
	volume := t.name("volume")
	t.MakeVolume(t, volume, nil)
	create := func() error {
		_, err := t.CreateHelper(t.ctx, engine.HelperSpec{Name: t.name("helper"), Volume: volume, Command: []string{Program}})
		return err
	}
	say := func() error {
		_, err := t.Exec(t.ctx, id, []string{Program, "say", "a", "b", "0"})
		return err
	}
	return map[engine.Call]func() error{
		engine.CallPing:       func() error { return t.Ping(t.ctx) },
		engine.CallContainers: func() error { _, err := t.Containers(t.ctx); return err },
		engine.CallInspect:    func() error { _, err := t.Bench.Inspect(t.ctx, id); return err },
		engine.CallEvents:     func() error { _, err := t.Bench.Watch(t.ctx, id); return err },
		engine.CallCommit: func() error {
			_, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: ref})
			return err
		},
		engine.CallPause:        func() error { return t.Pause(t.ctx, id) },
		engine.CallUnpause:      func() error { return t.Unpause(t.ctx, id) },
		engine.CallStop:         func() error { return t.Stop(t.ctx, id) },
		engine.CallStart:        func() error { return t.Start(t.ctx, id) },
		engine.CallExecCreate:   say,
		engine.CallExecStart:    say,
		engine.CallExecInspect:  say,
		engine.CallImages:       func() error { _, err := t.Bench.Images(t.ctx); return err },
		engine.CallInspectImage: func() error { _, err := t.InspectImage(t.ctx, image); return err },
		engine.CallSave:         func() error { _, err := t.Bench.Save(t.ctx, image); return err },
		engine.CallLoad:         func() error { _, err := t.Load(t.ctx, strings.NewReader("")); return err },
		engine.CallRemoveImage:  func() error { return t.RemoveImage(t.ctx, ref) },

		engine.CallVolumes:       func() error { _, err := t.Bench.Volumes(t.ctx); return err },
		engine.CallInspectVolume: func() error { _, err := t.Bench.InspectVolume(t.ctx, "none"); return err },
		engine.CallNetworks:      func() error { _, err := t.Bench.Networks(t.ctx); return err },
		engine.CallRename:        func() error { return t.RenameContainer(t.ctx, id, ref) },
		engine.CallUpdate:        func() error { return t.SetRestartPolicy(t.ctx, id, engine.RestartPolicy{Name: "no"}) },
		engine.CallCreateNetwork: func() error {
			_, err := t.CreateNetwork(t.ctx, engine.Network{Name: t.name("refused")})
			return err
		},
		engine.CallRemoveNetwork: func() error { return t.RemoveNetwork(t.ctx, image[len("sha256:"):]) },
		engine.CallConnect:       func() error { return t.Connect(t.ctx, "bridge", id, []byte(`{}`)) },
		engine.CallDisconnect:    func() error { return t.Disconnect(t.ctx, "bridge", id) },
		engine.CallCreateVolume:  func() error { return t.CreateVolume(t.ctx, engine.Volume{Name: t.name("refused")}) },

		engine.CallPush:   func() error { return t.Bench.Push(t.ctx, "127.0.0.1:1/none/none:v1", pushAuth, func() {}) },
		engine.CallPull:   func() error { return t.Bench.Pull(t.ctx, "127.0.0.1:1/none/none:v1", pushAuth) },
		engine.CallLookUp: func() error { return t.Bench.LookUp(t.ctx, "127.0.0.1:1/none/none:v1", pushAuth) },

		engine.CallRemoveContainer: func() error { return t.RemoveContainer(t.ctx, gone) },
		engine.CallCreate:          create,
		engine.CallCopy:            func() error { return t.CopyToHelper(t.ctx, id, bytes.NewReader(tarOf(nil))) },
		engine.CallAttach:          func() error { _, err := t.RunHelper(t.ctx, id, nil, io.Discard, io.Discard); return err },
	}
}

// wantRefused wants an error that names the call.
func (t *test) wantRefused(what string, err error, call engine.Call) {
	t.Helper()
	refusal, ok := errors.AsType[*engine.RefusedError](err)
	if !ok || !errors.Is(err, engine.ErrRefused) || errors.Is(err, engine.ErrEngineUnavailable) || errors.Is(err, engine.ErrNotFound) {
		t.Errorf("with %s refused, %s reports %v, want ErrRefused", call, what, err)
		return
	}
	method, path := call.Endpoint()
	parts := regexp.MustCompile(`\{[a-z]+\}`).Split(path, -1)
	if refusal.Method != method || !strings.HasPrefix(refusal.Path, parts[0]) || !strings.HasSuffix(refusal.Path, parts[len(parts)-1]) {
		t.Errorf("with %s refused, %s names %s %s, want %s %s", call, what, refusal.Method, refusal.Path, method, path)
	}
	if text := err.Error(); strings.ContainsAny(text, "<>\n") || len(text) > 1000 {
		t.Errorf("with %s refused, %s reports %q", call, what, text)
	}
}
