package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// ErrNotReached: what the daemon was told to ask did not come here. It runs on another
// machine, in a virtual one, or with a network of its own.
var ErrNotReached = errors.New("the Engine does not reach the worker's registry on loopback")

// askBound bounds how long a daemon may take to ask.
const askBound = 30 * time.Second

// question is something that only the daemon that was told it can ask.
type question struct {
	credentials engine.Credentials
	came        atomic.Bool
}

// Reached finds out whether a daemon reaches this server. ask tells it to look up a
// reference in this registry, as [engine.Registries] does. The credentials are good for
// nothing else: another registry may listen where the daemon asks. Reached reports
// ErrNotReached, and what ask reports, which may be that nobody could be told.
func (s *Server) Reached(ctx context.Context, ask func(ctx context.Context, reference string, auth engine.Credentials) error) error {
	name := strings.ToLower(rand.Text())
	q := &question{credentials: engine.Credentials{User: s.credentials.User, Password: rand.Text()}}
	s.mu.Lock()
	s.questions[name] = q
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.questions, name)
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, askBound, fmt.Errorf("it has not asked within %s", askBound))
	defer cancel()
	err := ask(ctx, fmt.Sprintf("%s/%s/%s:none", s.addr, namespace, name), q.credentials)
	switch {
	case q.came.Load():
		return nil
	case err == nil:
		return fmt.Errorf("%w: another registry answers it at %s", ErrNotReached, s.addr)
	}
	return fmt.Errorf("%w at %s: %w", ErrNotReached, s.addr, err)
}

// answers reports whether the request is a question that a daemon was told to ask.
func (s *Server) answers(r *http.Request, given engine.Credentials) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"+namespace+"/")
	name, _, _ := strings.Cut(rest, "/")
	s.mu.Lock()
	q := s.questions[name]
	s.mu.Unlock()
	if !ok || q == nil || !same(given, q.credentials) {
		return false
	}
	q.came.Store(true)
	return true
}
