package sftp_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
)

const thePassword = "a password"

// another runs a server that is not OpenSSH's, and lets users in with a password.
func another(t *testing.T, config *ssh.ServerConfig) sftp.Options {
	t.Helper()
	hostKey := filepath.Join(t.TempDir(), "host_key")
	public := sftptest.NewKey(t, hostKey, "")
	signer := signerIn(t, hostKey)
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	var conns sync.Map
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, nil)
			wg.Go(func() { serve(conn, config) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		conns.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		wg.Wait()
	})
	port := listener.Addr().(*net.TCPAddr).Port
	return sftp.Options{
		User: "someone", Host: "127.0.0.1", Port: port, Path: t.TempDir(), PasswordFile: file(t, thePassword+"\n"),
		KnownHosts: file(t, knownhosts.Line([]string{listener.Addr().String()}, public)+"\n"),
	}
}

func serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for next := range channels {
		channel, requests, err := next.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		}()
		if server, err := pkgsftp.NewServer(channel); err == nil {
			go func() {
				if err := server.Serve(); err == nil || errors.Is(err, io.EOF) {
					_ = server.Close()
				}
			}()
		}
	}
}

func byPassword(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	if string(password) != thePassword {
		return nil, errors.New("wrong")
	}
	return nil, nil
}

func byAnswer(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil || len(answers) != 1 || answers[0] != thePassword {
		return nil, errors.New("wrong")
	}
	return nil, nil
}

func TestPasswords(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	for name, config := range map[string]*ssh.ServerConfig{
		"as such": {PasswordCallback: byPassword}, "as an answer": {KeyboardInteractiveCallback: byAnswer},
	} {
		o := another(t, config)
		if err := reach(t, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		o.PasswordFile = file(t, "another one")
		err := reach(t, o)
		wants(t, name, err, sink.ErrUnavailable, "does not let someone log in")
		if err != nil && strings.Contains(err.Error(), "another one") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

// The server of the library that this package uses has no fsync.
func TestConformanceOfAnotherServer(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	o := another(t, &ssh.ServerConfig{PasswordCallback: byPassword})
	objecttest.Run(t, func(t *testing.T) objecttest.Place {
		own := o
		own.Path = filepath.Join(t.TempDir(), "sink")
		must(t, makeDir(own.Path))
		return place{own, own.Path, []string{"fsync@openssh.com"}}
	})
}

// Its rename replaces what is there, as the protocol does not have it, and that is found out.
func TestAServerWhoseRenameReplaces(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	must(t, pkgsftp.SetSFTPExtensions())
	t.Cleanup(func() {
		_ = pkgsftp.SetSFTPExtensions("hardlink@openssh.com", "posix-rename@openssh.com", "statvfs@openssh.com")
	})
	s := sftp.New(another(t, &ssh.ServerConfig{PasswordCallback: byPassword}))
	caveats, err := s.Caveats(t.Context(), "tried")
	must(t, err)
	if len(caveats) != 4 || !strings.Contains(caveats[0], "the later manifest replaces the first") {
		t.Errorf("the caveats are %q", caveats)
	}
	must(t, s.PutNew(t.Context(), "x", []byte("first")))
	wants(t, "create again", s.PutNew(t.Context(), "x", nil), sink.ErrExists)
	over, err := object.Open(t.Context(), s, "", "")
	must(t, err)
	probed, err := over.Probe(t.Context())
	warnings := probed.Warnings
	must(t, err)
	if len(warnings) != 4 {
		t.Errorf("the warnings are %q", warnings)
	}
	if tells, err := s.TellsFree(t.Context()); tells || err != nil {
		t.Errorf("it tells what is free: %t, %v", tells, err)
	}
}
