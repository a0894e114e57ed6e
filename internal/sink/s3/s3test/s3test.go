// Package s3test runs S3 servers for tests: versitygw, which keeps a bucket as a folder.
package s3test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Version is that of the server; .ci/run installs it.
const Version = "v1.8.0"

// Credentials of a server, which may do everything.
const (
	AccessKey = "holdfast-test"
	SecretKey = "holdfast-test-secret"
)

// Bucket is the bucket that a server has from the beginning.
const Bucket = "backup"

// Server is a server, with its credentials and its buckets in a folder.
type Server struct {
	// URL is the endpoint.
	URL string
	// Dir is the folder that its buckets lie in.
	Dir string
	// Credentials is a file with those of the server, as ~/.aws/credentials.
	Credentials string

	address string
	cmd     *exec.Cmd
}

// Start runs a server until the end of the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := StartIn(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// StartIn runs a server, with all that it keeps in a folder, until Stop.
func StartIn(dir string) (*Server, error) {
	s := &Server{Dir: filepath.Join(dir, "s3"), Credentials: filepath.Join(dir, "credentials")}
	content := "[default]\naws_access_key_id = " + AccessKey + "\naws_secret_access_key = " + SecretKey + "\n"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = l.Addr().String()
	s.URL = "http://" + s.address
	err = errors.Join(l.Close(), os.WriteFile(s.Credentials, []byte(content), 0o600), os.MkdirAll(filepath.Join(s.Dir, Bucket), 0o700))
	if err != nil {
		return nil, err
	}
	return s, s.Run()
}

// Run runs the server again after Stop.
func (s *Server) Run() error {
	path, err := program()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(path, "--port", s.address, "--quiet", "--keep-alive", "posix", s.Dir) //nolint:gosec // a test's own program
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	log, err := os.Create(filepath.Join(filepath.Dir(s.Dir), "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(s.URL) //nolint:noctx // it answers, or does not
		if err == nil {
			return answer.Body.Close()
		}
		if time.Now().After(end) {
			out, _ := os.ReadFile(log.Name())
			s.Stop()
			return fmt.Errorf("the S3 server does not answer: %w\n%s", err, out)
		}
	}
}

// Stop kills the server.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Process is the server's, to freeze it.
func (s *Server) Process() *os.Process { return s.cmd.Process }

// program returns the path of the server.
func program() (string, error) {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "holdfast", "bin")
	path := filepath.Join(bin, "versitygw")
	if _, err := os.Stat(path); err != nil {
		const module = "github.com/versity/versitygw/cmd/versitygw@" + Version
		return "", fmt.Errorf("the S3 server of the tests is missing; install it: GOBIN=%s go install %s", bin, module)
	}
	return path, nil
}
