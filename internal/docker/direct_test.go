package docker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
	"holdfast.io/holdfast/internal/transport"
)

// loggedIn is a repository for which the Engine gets other credentials, or is asked for something else.
type loggedIn struct {
	sink.Repository
	login sink.Login
	own   string
}

func (l loggedIn) Login(context.Context) (sink.Login, error) { return l.login, nil }

func (l loggedIn) Own(ctx context.Context) (string, error) {
	own, err := l.Repository.Own(ctx)
	if l.own != "" {
		own = l.own
	}
	return own, err
}

// Whether an Engine reaches the registry of a sink, is let in, and means the same one, is told apart from
// an Engine that cannot be asked. Nothing that is said has the password.
func TestReachesRegistry(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{TLS: true})
	store, err := oci.New(oci.Options{Registry: server.Address, Repository: "backups/web", CA: server.CA, Config: server.Config})
	if err != nil {
		t.Fatal(err)
	}
	s, err := object.Open(t.Context(), store, "", "layers")
	if err != nil {
		t.Fatal(err)
	}
	in, ok := sink.RepositoryOf(s)
	if !ok {
		t.Fatal("the sink lies in no repository")
	}
	e := openBench(t)
	if err := (&transport.Direct{Engine: e}).Reached(t.Context(), in); err != nil {
		t.Errorf("this machine's Engine: %v", err)
	}
	right := sink.Login{User: ocitest.User, Password: ocitest.Password}
	for name, r := range map[string]loggedIn{
		"nobody":           {Repository: in},
		"a wrong password": {Repository: in, login: sink.Login{User: ocitest.User, Password: "wrong-secret"}},
		"another registry": {Repository: in, login: right, own: server.Address + "/backups/web@sha256:" + strings.Repeat("0", 64)},
	} {
		err := (&transport.Direct{Engine: e}).Reached(t.Context(), r)
		if !errors.Is(err, transport.ErrNotDirect) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	private := dockertest.New(t, dockertest.Options{}) // which has a network of its own
	own, err := docker.Connect(private.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	err = (&transport.Direct{Engine: own}).Reached(t.Context(), in)
	if !errors.Is(err, transport.ErrNotDirect) || errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("an Engine with a network of its own: %v", err)
	}
	private.Stop(t)
	asking := &transport.Direct{Engine: own}
	if err = asking.Reached(t.Context(), in); !errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("an Engine that is away: %v", err)
	}
	private.Start(t) // that it was away is not remembered
	if err = asking.Reached(t.Context(), in); !errors.Is(err, transport.ErrNotDirect) || errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("an Engine that is back: %v", err)
	}
}
