// Package s3test runs S3 servers for tests: versitygw, which keeps a bucket as a folder.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast.io/holdfast/internal/porttest"
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

// User is a user of every server, who may do what the policy of a bucket lets him.
const User = "holdfast-user"

// Server is a server, with its credentials and its buckets in a folder.
type Server struct {
	// URL is the endpoint.
	URL string
	// Dir is the folder that its buckets lie in.
	Dir string
	// Credentials is a file with those of the server, as ~/.aws/credentials.
	Credentials string
	// UserCredentials are those of User.
	UserCredentials string

	dir     string // of all that it keeps
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
	s := &Server{dir: dir, Dir: filepath.Join(dir, "s3"), Credentials: filepath.Join(dir, "credentials"),
		UserCredentials: filepath.Join(dir, "user-credentials")}
	free, err := porttest.Free()
	if err != nil {
		return nil, err
	}
	s.address = free.String()
	s.URL = "http://" + s.address
	users := fmt.Appendf(nil, `{"accessAccounts": {%q: {"access": %[1]q, "secret": %q, "role": "user"}}}`, User, SecretKey)
	err = errors.Join(writeCredentials(s.Credentials, AccessKey), writeCredentials(s.UserCredentials, User),
		os.MkdirAll(filepath.Join(s.Dir, Bucket), 0o700), os.MkdirAll(s.versions(), 0o700), os.MkdirAll(s.users(), 0o700),
		os.WriteFile(filepath.Join(s.users(), "users.json"), users, 0o600))
	if err != nil {
		return nil, err
	}
	return s, s.Run()
}

func writeCredentials(path, key string) error {
	return os.WriteFile(path, []byte("[default]\naws_access_key_id = "+key+"\naws_secret_access_key = "+SecretKey+"\n"), 0o600)
}

func (s *Server) versions() string { return filepath.Join(s.dir, "s3-versions") }
func (s *Server) users() string    { return filepath.Join(s.dir, "s3-users") }

// At is the server that runs at a URL, for what asks it something.
func At(url string) *Server { return &Server{URL: url, address: strings.TrimPrefix(url, "http://")} }

// Admin returns a client that may do everything.
func (s *Server) Admin() (*minio.Core, error) {
	return minio.NewCore(s.address, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, "")})
}

// MakeLocking makes a bucket with object lock.
func (s *Server) MakeLocking(ctx context.Context, bucket string) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	return admin.MakeBucket(ctx, bucket, minio.MakeBucketOptions{ObjectLocking: true})
}

// Let gives a bucket a policy.
func (s *Server) Let(ctx context.Context, bucket, policy string) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	return admin.PutBucketPolicy(ctx, bucket, policy)
}

// EndLocks ends the locks of all objects in a bucket, as time does; they must be of
// governance.
func (s *Server) EndLocks(ctx context.Context, bucket string) error {
	admin, err := s.Admin()
	if err != nil {
		return err
	}
	for info := range admin.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if info.Err != nil {
			return info.Err
		}
		if info.IsDeleteMarker {
			continue
		}
		now, err := admin.StatObject(ctx, bucket, info.Key, minio.StatObjectOptions{VersionID: info.VersionID})
		if err != nil {
			return err
		}
		if info.IsLatest && now.Metadata.Get("X-Amz-Object-Lock-Mode") == "" { // of another version the server does not say
			continue
		}
		mode, soon := minio.Governance, time.Now().Add(time.Second)
		o := minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &soon, VersionID: info.VersionID, GovernanceBypass: true}
		if err := admin.PutObjectRetention(ctx, bucket, info.Key, o); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	return nil
}

// Skewed returns a way to the server on which its clock is so much ahead.
func (s *Server) Skewed(ahead time.Duration) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: s.address})
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"Date", "Last-Modified"} {
				if t, err := http.ParseTime(r.Header.Get(name)); err == nil {
					r.Header.Set(name, t.Add(ahead).Format(http.TimeFormat))
				}
			}
			return nil
		},
	}
}

// Run runs the server again after Stop.
func (s *Server) Run() error {
	path, err := program()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(path, "--port", s.address, "--quiet", "--keep-alive",
		"--iam-dir", s.users(), "posix", "--versioning-dir", s.versions(), s.Dir) //nolint:gosec // a test's own program
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	log, err := os.Create(filepath.Join(s.dir, "server.log"))
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
