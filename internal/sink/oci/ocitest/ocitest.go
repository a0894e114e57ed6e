// Package ocitest runs image registries for tests: distribution's, which keeps its repositories in
// a folder.
package ocitest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/porttest"
)

// Version is that of the registry; .ci/run installs it.
const Version = "v3.1.2"

// Who may use a registry that asks for credentials.
const (
	User     = "holdfast"
	Password = "holdfast-test-secret"
)

// Options say what a registry does.
type Options struct {
	// TLS has it speak TLS, with a certificate that Server.CA has signed, and ask for credentials.
	TLS bool
	// KeepsAll has it refuse to delete anything.
	KeepsAll bool
	// Elsewhere is another address at which its certificate is good, for who reaches it there.
	Elsewhere net.IP
}

// Server is a registry.
type Server struct {
	// Address is host:port, and URL with the scheme.
	Address, URL string
	// CA is a file with the certificate that its own is signed by, UserFile and PasswordFile
	// hold who may use it, and Config too, as docker login writes it. They are there with TLS.
	CA, UserFile, PasswordFile, Config string

	dir string
	cmd *exec.Cmd
}

// Start runs a registry until the end of the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := StartIn(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// StartIn runs a registry, with all that it keeps in a folder, until Stop.
func StartIn(dir string, o Options) (*Server, error) {
	free, err := porttest.Free()
	if err != nil {
		return nil, err
	}
	s := &Server{Address: free.String(), dir: dir}
	s.URL = "http://" + s.Address
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: %t}, "+
		"maintenance: {uploadpurging: {enabled: false}}}\nhttp: {addr: %q, secret: not-one, relativeurls: true%s}\n",
		s.Root(), !o.KeepsAll, s.Address, s.tls(o))
	if o.TLS {
		s.URL = "https://" + s.Address
		if err := s.secure(o); err != nil {
			return nil, err
		}
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\n", s.file("htpasswd"))
	}
	if err := os.WriteFile(s.file("config.yml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return s, s.Run()
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// Root is the folder that it keeps its repositories in.
func (s *Server) Root() string { return s.file("registry") }

// Repository is the folder of a repository.
func (s *Server) Repository(name string) string {
	return filepath.Join(s.Root(), "docker/registry/v2/repositories", name)
}

func (s *Server) tls(o Options) string {
	if !o.TLS {
		return ""
	}
	return fmt.Sprintf(", tls: {certificate: %s, key: %s}", s.file("cert.pem"), s.file("key.pem"))
}

// secure makes what a registry with TLS and credentials needs.
func (s *Server) secure(o Options) error {
	s.CA, s.UserFile, s.PasswordFile, s.Config = s.file("cert.pem"), s.file("user"), s.file("password"), s.file("config.json")
	hashed, err := exec.Command("htpasswd", "-nbB", "-C", "4", User, Password).Output() //nolint:gosec // a test's own program
	if err != nil {
		return fmt.Errorf("hash the password of the registry: %w", err)
	}
	auth := fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, s.Address, base64.StdEncoding.EncodeToString([]byte(User+":"+Password)))
	return errors.Join(s.certify(o), os.WriteFile(s.file("htpasswd"), hashed, 0o600), os.WriteFile(s.UserFile, []byte(User+"\n"), 0o600),
		os.WriteFile(s.PasswordFile, []byte(Password+"\n"), 0o600), os.WriteFile(s.Config, auth, 0o600))
}

// certify makes a certificate, which has signed itself, and its key.
func (s *Server) certify(o Options) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if o.Elsewhere != nil {
		about.IPAddresses = append(about.IPAddresses, o.Elsewhere)
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.file("cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(s.file("key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// Run runs the registry again after Stop.
func (s *Server) Run() error {
	path, err := program()
	if err != nil {
		return err
	}
	log, err := os.Create(s.file("registry.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(path, "serve", s.file("config.yml")) //nolint:gosec // a test's own program
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = log, log, append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := s.cmd.Start(); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // whether it answers at all
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer, err := client.Get(s.URL) //nolint:noctx // it answers, or does not
		if err == nil {
			return answer.Body.Close()
		}
		if time.Now().After(end) {
			out, _ := os.ReadFile(log.Name())
			s.Stop()
			return fmt.Errorf("the registry does not answer: %w\n%s", err, out)
		}
	}
}

// Stop kills the registry.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Pause freezes the registry: it takes connections and does not answer. Continue ends that.
func (s *Server) Pause() error    { return s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Continue() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Collect stops the registry, removes what nothing refers to as its operator does, and runs it
// again.
func (s *Server) Collect() error {
	s.Stop()
	path, err := program()
	if err != nil {
		return err
	}
	out, err := exec.Command(path, "garbage-collect", s.file("config.yml")).CombinedOutput() //nolint:gosec // a test's own program
	if err != nil {
		return fmt.Errorf("collect the garbage of the registry: %w\n%s", err, bytes.TrimSpace(out))
	}
	return s.Run()
}

// program returns the path of the registry.
func program() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "holdfast", "bin")
	path := filepath.Join(bin, "registry")
	if _, err := os.Stat(path); err != nil {
		const module = "github.com/distribution/distribution/v3/cmd/registry@" + Version
		return "", fmt.Errorf("the registry of the tests is missing; install it: GOBIN=%s go install %s", bin, module)
	}
	return path, nil
}
