package docker_test

import (
	"errors"
	"testing"

	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

// An Engine with a network of its own does not reach the worker, and is told apart from
// one that cannot be asked.
func TestNotReached(t *testing.T) {
	server, err := registry.Listen(registry.Options{Credentials: engine.Credentials{User: "u", Password: "p"}, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Reached(t.Context(), openBench(t).LookUp); err != nil {
		t.Errorf("this machine's Engine: %v", err)
	}
	private := dockertest.New(t, dockertest.Options{})
	e, err := docker.Connect(private.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	err = server.Reached(t.Context(), e.LookUp)
	if !errors.Is(err, registry.ErrNotReached) || errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("an Engine with a network of its own: %v", err)
	}
	private.Stop(t)
	err = server.Reached(t.Context(), e.LookUp)
	if !errors.Is(err, registry.ErrNotReached) || !errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("an Engine that is away: %v", err)
	}
}

// A proxy that does not let a call through is told apart from a registry that refuses.
func TestRegistryCallsRefused(t *testing.T) {
	proxy := dockertest.NewProxy(t, openBench(t).Host())
	proxy.Treat(dockertest.Treatment{Refuse: true}, engine.CallPush, engine.CallPull, engine.CallLookUp)
	e, err := docker.Connect(proxy.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for path, err := range map[string]error{
		"/images/{name}/push":       e.Push(t.Context(), "127.0.0.1:1/a/b:v1", engine.Credentials{User: "u", Password: "p"}, func() {}),
		"/images/create":            e.Pull(t.Context(), "127.0.0.1:1/a/b:v1", engine.Credentials{User: "u", Password: "p"}),
		"/distribution/{name}/json": e.LookUp(t.Context(), "127.0.0.1:1/a/b:v1", engine.Credentials{User: "u", Password: "p"}),
	} {
		if refusal, ok := errors.AsType[*engine.RefusedError](err); !ok || refusal.Path != path {
			t.Errorf("it reports %v, want that %s is refused", err, path)
		}
	}
}
