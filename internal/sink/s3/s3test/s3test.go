// Package s3test runs S3 servers for tests: versitygw, which keeps a bucket as a folder.
package s3test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// Server is a server of one test.
type Server struct {
	// URL is the endpoint.
	URL string
	// Dir is the folder that its buckets lie in.
	Dir string
	// Credentials is a file with those of the server, as ~/.aws/credentials.
	Credentials string

	address string
	args    []string
	cmd     *exec.Cmd
}

// Start runs a server until the end of the test, with more of its own arguments.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Dir: filepath.Join(dir, "s3"), Credentials: filepath.Join(dir, "credentials"), args: args, address: freeAddress(t)}
	s.URL = "http://" + s.address
	content := "[default]\naws_access_key_id = " + AccessKey + "\naws_secret_access_key = " + SecretKey + "\n"
	must(t, os.WriteFile(s.Credentials, []byte(content), 0o600))
	must(t, os.MkdirAll(filepath.Join(s.Dir, Bucket), 0o700))
	s.Run(t)
	t.Cleanup(s.Stop)
	return s
}

// Run runs the server again after Stop.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	args := append([]string{"--port", s.address, "--quiet", "--keep-alive"}, s.args...)
	s.cmd = exec.Command(program(t), append(args, "posix", s.Dir)...) //nolint:gosec // a test's own program
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	log, err := os.Create(filepath.Join(filepath.Dir(s.Dir), "server.log"))
	must(t, err)
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must(t, s.cmd.Start())
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(s.URL) //nolint:noctx // it answers, or does not
		if err == nil {
			_ = answer.Body.Close()
			return
		}
		if time.Now().After(end) {
			out, _ := os.ReadFile(log.Name())
			t.Fatalf("the S3 server does not answer: %v\n%s", err, out)
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
func program(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	must(t, err)
	bin := filepath.Join(cache, "holdfast", "bin")
	path := filepath.Join(bin, "versitygw")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the S3 server of the tests is missing: GOBIN=%s go install github.com/versity/versitygw/cmd/versitygw@%s", bin, Version)
	}
	return path
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return strings.Clone(l.Addr().String())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
