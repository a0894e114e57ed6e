package sftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"holdfast.io/holdfast/internal/sink"
)

// connected returns the link, and makes a new one if that has ended.
func (s *Store) connected(ctx context.Context) (*link, error) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.lock }()
	if s.link != nil && !s.link.isClosed() {
		return s.link, nil
	}
	l, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	s.link = l
	return l, nil
}

// dial connects, logs in and begins a session. Its error wraps sink.ErrUnavailable if to
// try again cannot help.
func (s *Store) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.times.dial)
	defer cancel()
	address := net.JoinHostPort(s.o.Host, strconv.Itoa(s.o.Port))
	hosts, err := s.hostKeys(address)
	if err != nil {
		return nil, s.refused(err)
	}
	login, release, err := s.login()
	if err != nil {
		return nil, s.refused(err)
	}
	defer release()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	l, err := s.session(conn, address, &ssh.ClientConfig{
		User: s.o.User, Auth: login, HostKeyCallback: hosts.check, HostKeyAlgorithms: hosts.algorithms,
	})
	if err != nil {
		_ = conn.Close()
	}
	switch {
	case hosts.err != nil:
		err = s.refused(hosts.err)
	case err != nil && !stop():
		err = fmt.Errorf("the server does not answer: %w", context.Cause(ctx))
	case err != nil && strings.Contains(err.Error(), "unable to authenticate"): // it has no type
		err = s.refused(fmt.Errorf("the server does not let %s log in: %w; put the public key into the user's authorized_keys there, "+
			"or correct key or passwordFile", s.o.User, err))
	case err == nil && !stop():
		l.close()
		err = errLost
	}
	return l, err
}

func (s *Store) refused(err error) error {
	return fmt.Errorf("%s: %w: %w", s.Place(""), sink.ErrUnavailable, err)
}

// maxRequests is how many requests of 32 KiB one read or write has under way.
const maxRequests = 128

// session begins a session over a connection.
func (s *Store) session(conn net.Conn, address string, config *ssh.ClientConfig) (*link, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	l := &link{ssh: ssh.NewClient(c, channels, requests), times: s.times, gone: make(chan struct{}), moved: time.Now()}
	session, err := l.ssh.NewSession()
	if err != nil {
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	in, ierr := session.StdinPipe()
	out, oerr := session.StdoutPipe()
	if err := errors.Join(ierr, oerr, session.RequestSubsystem("sftp")); err != nil {
		return nil, fmt.Errorf("begin SFTP, which the server may not offer: %w", err)
	}
	m := moving{Reader: out, WriteCloser: in, link: l}
	if l.client, err = pkgsftp.NewClientPipe(m, m,
		pkgsftp.UseConcurrentWrites(true), pkgsftp.MaxConcurrentRequestsPerFile(maxRequests)); err != nil {
		return nil, fmt.Errorf("begin SFTP: %w", err)
	}
	l.use()
	return l, nil
}

// login returns the ways to log in, and what ends their use.
func (s *Store) login() (ways []ssh.AuthMethod, release func(), err error) {
	release = func() {}
	socket := os.Getenv("SSH_AUTH_SOCK")
	switch {
	case s.o.Key != "":
		signer, err := s.key()
		if err != nil {
			return nil, nil, err
		}
		ways = append(ways, ssh.PublicKeys(signer))
	case socket != "":
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return nil, nil, fmt.Errorf("ask the agent at SSH_AUTH_SOCK: %w", err)
		}
		release = func() { _ = conn.Close() }
		ways = append(ways, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	if s.o.PasswordFile != "" {
		password, err := secret(s.o.PasswordFile)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("read passwordFile: %w", err)
		}
		ways = append(ways, ssh.Password(password), ssh.KeyboardInteractive(answer(password)))
	}
	if len(ways) == 0 {
		return nil, nil, errors.New("there is nothing to log in with: configure key or passwordFile, or run an agent and set SSH_AUTH_SOCK")
	}
	return ways, release, nil
}

// answer answers a server that asks for nothing but the password.
func answer(password string) ssh.KeyboardInteractiveChallenge {
	return func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = password
		}
		if len(answers) > 1 {
			return nil, fmt.Errorf("the server asks %d questions, and not for a password alone", len(answers))
		}
		return answers, nil
	}
}

func (s *Store) key() (ssh.Signer, error) {
	raw, err := os.ReadFile(s.o.Key)
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	if s.o.KeyPassphraseFile == "" {
		signer, err := ssh.ParsePrivateKey(raw)
		if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
			return nil, fmt.Errorf("the private key %s has a passphrase; configure keyPassphraseFile", s.o.Key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is no private key: %w", s.o.Key, err)
		}
		return signer, nil
	}
	passphrase, err := secret(s.o.KeyPassphraseFile)
	if err != nil {
		return nil, fmt.Errorf("read keyPassphraseFile: %w", err)
	}
	signer, err := ssh.ParsePrivateKeyWithPassphrase(raw, []byte(passphrase))
	if err != nil {
		return nil, fmt.Errorf("open the private key %s with the passphrase in %s: %w", s.o.Key, s.o.KeyPassphraseFile, err)
	}
	return signer, nil
}

// secret reads a file with one line.
func secret(file string) (string, error) {
	raw, err := os.ReadFile(file)
	return strings.TrimRight(string(raw), "\r\n"), err
}
