// Package embedded runs a message server in this process, for a host that has no
// other. It is the only package that knows the NATS server.
package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus"
)

const (
	// readyTimeout leaves time to check a gigabyte of streams after a crash.
	readyTimeout    = 30 * time.Second
	readyPoll       = 200 * time.Millisecond
	shutdownTimeout = 10 * time.Second

	user = "holdfast"
)

// Server is a running message server. Nobody can reach it but this machine's
// users, and none of these without its password.
type Server struct {
	nats     *server.Server
	password string
	started  chan struct{} // closed when the server has ended its start
}

// Start runs a server with its streams in dir, which is made if it is not there
// and must belong to this process alone: two servers on one folder lose messages.
// Every message is on the disk before it is acknowledged. Start returns when
// clients can connect, or ctx ends.
//
// The server neither handles signals nor ends the process, and writes to log
// only: warnings and errors, and everything else at debug level.
func Start(ctx context.Context, dir string, log *zap.Logger) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the message server's folder: %w", err)
	}
	password := rand.Text()
	ns, err := server.NewServer(options(dir, password))
	if err != nil {
		return nil, fmt.Errorf("set up the message server: %w", err)
	}
	fatal := make(chan string, 1)
	debug := log.Core().Enabled(zap.DebugLevel)
	ns.SetLoggerV2(&logger{log: log.Sugar(), fatal: fatal}, debug, false, false)

	s := &Server{nats: ns, password: password, started: make(chan struct{})}
	go func() {
		defer close(s.started)
		ns.Start()
	}()
	if err := s.ready(ctx, fatal); err != nil {
		return nil, errors.Join(fmt.Errorf("start the message server: %w", err), s.Shutdown())
	}
	return s, nil
}

func options(dir, password string) *server.Options {
	return &server.Options{
		ServerName: "holdfast-embedded",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		NoSigs:     true,

		CustomClientAuthentication: onlyUser(user, password),

		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             true,
		DisableJetStreamBanner: true,
		MaxClosedClients:       1, // for monitoring, of which there is none
	}
}

// ready waits until clients can connect.
func (s *Server) ready(ctx context.Context, fatal <-chan string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		select {
		case why := <-fatal:
			return errors.New(why)
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		if s.nats.ReadyForConnections(readyPoll) {
			return nil
		}
	}
}

// Options say how to connect to the server.
func (s *Server) Options() bus.Options {
	return bus.Options{URL: s.nats.ClientURL(), User: user, Password: s.password}
}

// Shutdown stops the server, and returns when its streams are closed, or with an
// error after some seconds. A second call does nothing.
func (s *Server) Shutdown() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-s.started // a server that is stopped while it starts leaves things behind
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(shutdownTimeout):
		return fmt.Errorf("the message server does not stop within %s", shutdownTimeout)
	}
}
