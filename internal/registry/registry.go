// Package registry is the registry protocol on loopback, for the daemon of one Engine: a
// [Session] takes one image, whose blobs stream to a [Receiver] as they come, or offers
// one [Image], whose blobs are read as the daemon takes them. What was pushed cannot be
// pulled, nothing can be listed, and whoever does not know the credentials learns nothing
// but that they are asked for.
package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
)

// Options say how a Server listens.
type Options struct {
	// Port is the one to listen on if it is free. With 0, and where it is not, the system
	// chooses one. A daemon remembers where it has pushed a layer, so it should stay.
	Port int
	// Credentials are those that the daemon gives with each request. A classic store finds
	// layers that it has pushed by them too, so they should stay the same for an Engine.
	Credentials engine.Credentials
	// Log takes what goes wrong beside the pushes.
	Log *zap.Logger
}

// Server is a registry on loopback. It may be used by several goroutines.
type Server struct {
	addr        string
	credentials engine.Credentials
	mux         *http.ServeMux
	http        *http.Server
	served      chan struct{} // closed when nothing is accepted any more
	requests    gate

	mu        sync.Mutex
	closed    bool
	sessions  map[string]*Session  // by name
	questions map[string]*question // by name
}

// namespace is the part before the last of all repositories' names.
const namespace = engine.PushNamespace

// headerBound bounds how long the headers of a request take to come, idleBound how
// long a connection waits for the next one.
const (
	headerBound = 10 * time.Second
	idleBound   = time.Minute
)

// Listen starts a server on 127.0.0.1, which runs until it is closed.
func Listen(o Options) (*Server, error) {
	if o.Credentials.Password == "" || o.Credentials.User == "" || strings.Contains(o.Credentials.User, ":") {
		return nil, errors.New("a registry on loopback needs a password, and a user without a colon: every process of the host can reach it")
	}
	l, err := listen(o.Port)
	if err != nil {
		return nil, fmt.Errorf("listen for the daemon's pushes: %w", err)
	}
	s := &Server{addr: l.Addr().String(), credentials: o.Credentials, served: make(chan struct{}),
		sessions: map[string]*Session{}, questions: map[string]*question{}}
	s.routes()
	errorLog, err := zap.NewStdLogAt(o.Log, zap.DebugLevel) // a stranger can fill it
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: headerBound, IdleTimeout: idleBound,
		MaxHeaderBytes: 16 << 10, ErrorLog: errorLog}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(&loopback{l}); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("the registry for the daemon's pushes has ended", zap.Error(err))
		}
	}()
	return s, nil
}

func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil && port != 0 {
		return listen(0)
	}
	return l, err
}

// loopback accepts connections of this host alone: its packet filter may lead others
// to a port of 127.0.0.1.
type loopback struct{ net.Listener }

// Accept implements [net.Listener].
func (l *loopback) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, ok := c.RemoteAddr().(*net.TCPAddr); ok && peer.IP.IsLoopback() {
			return c, nil
		}
		c.Close()
	}
}

// Addr is where the server listens: 127.0.0.1 and its port.
func (s *Server) Addr() string { return s.addr }

// Close closes all sessions, and returns when nothing of the server runs.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var sessions []*Session
	for _, session := range s.sessions {
		sessions = append(sessions, session)
	}
	s.mu.Unlock()
	for _, session := range sessions {
		session.Close()
	}
	err := s.http.Close()
	s.requests.close()
	<-s.served
	return err
}

// Open lets the daemon push one image, under this tag, until the session is closed.
// The tag must be one that no other session has or had. Of a server that is closed
// it returns a session that nothing reaches.
func (s *Server) Open(tag string, r Receiver) *Session {
	return s.open(tag, func(session *Session) { session.receiver = r })
}

// open opens a session once fill has given it what it is for.
func (s *Server) open(tag string, fill func(session *Session)) *Session {
	ctx, cancel := context.WithCancelCause(context.Background())
	session := &Session{server: s, tag: tag, ctx: ctx, cancel: cancel,
		uploads: map[string]*upload{}, received: map[string]int64{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	session.name = s.freeName()
	if fill(session); !s.closed {
		s.sessions[session.name] = session
	}
	return session
}

// freeName returns the first name that no session has. Names can't be guessed without
// the password. They are used again, since a daemon keeps for each of its layers where
// it went: at most 50 of such names, of which the others are its user's. It is called
// with the lock held.
func (s *Server) freeName() string {
	for i := 0; ; i++ {
		mac := hmac.New(sha256.New, []byte(s.credentials.Password))
		fmt.Fprintf(mac, "the name %d of %s", i, s.credentials.User)
		name := hex.EncodeToString(mac.Sum(nil)[:16])
		if s.sessions[name] == nil {
			return name
		}
	}
}

func (s *Server) session(name string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[name]
}

// ServeHTTP answers a request, if whoever asks knows the credentials. Nobody else
// needs to call it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.requests.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.requests.leave()
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	user, password, _ := r.BasicAuth()
	given := engine.Credentials{User: user, Password: password}
	switch {
	case s.answers(r, given):
		unknownManifest.write(w)
	case same(given, s.credentials):
		s.mux.ServeHTTP(w, r)
	default:
		w.Header().Set("WWW-Authenticate", `Basic realm="holdfast"`)
		unauthorized.write(w)
	}
}

// same compares credentials, in a time that tells nothing of how they differ.
func same(a, b engine.Credentials) bool {
	x, y := sha256.Sum256([]byte(a.User+":"+a.Password)), sha256.Sum256([]byte(b.User+":"+b.Password))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (s *Server) routes() {
	const repository = "/v2/" + namespace + "/{name}/"
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	for pattern, handle := range map[string]handler{
		"HEAD " + repository + "blobs/{digest}":       (*Session).headBlob,
		"GET " + repository + "blobs/{digest}":        (*Session).getBlob,
		"POST " + repository + "blobs/uploads/{$}":    pushed((*Session).beginUpload),
		"PATCH " + repository + "blobs/uploads/{id}":  pushed((*Session).patchUpload),
		"PUT " + repository + "blobs/uploads/{id}":    pushed((*Session).putUpload),
		"DELETE " + repository + "blobs/uploads/{id}": pushed((*Session).deleteUpload),
		"GET " + repository + "manifests/{reference}": (*Session).getManifest,
		"PUT " + repository + "manifests/{reference}": pushed((*Session).putManifest),
		repository + "blobs/{digest}":                 notAllowed,
		repository + "blobs/uploads/{id}":             notAllowed,
		repository + "manifests/{reference}":          notAllowed,
		repository + "blobs/uploads/{$}":              notAllowed,
	} {
		s.mux.HandleFunc(pattern, s.within(handle))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { unsupported.write(w) })
}

// gate counts what has entered, until it is closed.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter reports whether the gate is open. What has entered must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

// close lets nothing in any more, and returns when all that had entered has left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
