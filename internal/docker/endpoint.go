package docker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

// endpoint is where an Engine is reached, and how.
type endpoint struct {
	host string // a URL without secrets
	tls  *tls.Config
	// dial opens a connection by a program, see ssh(1); nil if the host is dialled.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// findEndpoint decides as the docker command does: the host that is given, else
// DOCKER_HOST, else the context of DOCKER_CONTEXT or of the user's configuration,
// else the usual socket.
func findEndpoint(host string) (endpoint, error) {
	if v := os.Getenv(client.EnvOverrideAPIVersion); v != "" && !apiVersion.MatchString(v) {
		return endpoint{}, fmt.Errorf("DOCKER_API_VERSION is %q; unset it, or set it to a version such as 1.41", brief(v))
	}
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host == "" {
		name, err := currentContext()
		if err != nil {
			return endpoint{}, err
		}
		if name != defaultContext {
			return contextEndpoint(name)
		}
		host = client.DefaultDockerHost
	}
	e, err := endpointAt(host)
	if err == nil && e.dial == nil {
		e.tls, err = environmentTLS()
	}
	return e, err
}

// apiVersion is what the Docker client puts into the path of its calls.
var apiVersion = regexp.MustCompile(`^v?[0-9]+\.[0-9]+$`)

var errMalformed = errors.New("the address of the Docker Engine is malformed; write unix:///path, tcp://host:port or ssh://user@host")

// schemes are those that the Docker client can dial.
var schemes = []string{"unix", "tcp", "npipe"}

// endpointAt checks a host's URL. No error repeats it: it may have a password in
// it.
func endpointAt(host string) (endpoint, error) {
	u, err := url.Parse(host)
	switch {
	case err != nil, u.Opaque != "", u.Host == "" && u.Path == "":
		return endpoint{}, errMalformed
	case u.Scheme == "ssh":
		if _, has := u.User.Password(); has {
			return endpoint{}, errors.New("the address of the Docker Engine has a password in it, which ssh does not take; use a key")
		}
		helper, err := connhelper.GetConnectionHelperWithSSHOpts(host, []string{"-o", "BatchMode=yes"}) // there is nobody to answer
		if err != nil {
			return endpoint{}, errMalformed
		}
		return endpoint{host: host, dial: helper.Dialer}, nil
	case !slices.Contains(schemes, u.Scheme):
		return endpoint{}, fmt.Errorf("the address of the Docker Engine has the scheme %q; it must be unix, tcp or ssh", brief(u.Scheme))
	case u.User != nil:
		return endpoint{}, errors.New("the address of the Docker Engine has a user or a password in it, which nobody would ask for; " +
			"leave them out, and use TLS (DOCKER_TLS_VERIFY, DOCKER_CERT_PATH) or ssh")
	}
	return endpoint{host: host}, nil
}

// environmentTLS is what DOCKER_TLS_VERIFY and DOCKER_CERT_PATH ask for; nil for
// none.
func environmentTLS() (*tls.Config, error) {
	dir := os.Getenv(client.EnvOverrideCertPath)
	if dir == "" {
		return nil, nil
	}
	config, err := tlsconfig.Client(tlsconfig.Options{
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		InsecureSkipVerify: os.Getenv(client.EnvTLSVerify) == "", ExclusiveRootPools: true,
	})
	if err != nil {
		return nil, fmt.Errorf("read the certificates of DOCKER_CERT_PATH: %w", err)
	}
	return config, nil
}

// defaultContext is the context that is the environment.
const defaultContext = "default"

// currentContext returns the name of the context that the docker command would use.
func currentContext() (string, error) {
	if name := os.Getenv("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	dir, err := configDir()
	if err != nil { // a user without a home has no contexts either
		return defaultContext, nil //nolint:nilerr // see above
	}
	file := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return defaultContext, nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	if err != nil {
		return "", fmt.Errorf("read which docker context is in use from %s: %w", file, err)
	}
	if config.CurrentContext == "" {
		return defaultContext, nil
	}
	return config.CurrentContext, nil
}

// configDir is the folder of the docker command's configuration.
func configDir() (string, error) {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".docker"), err
}

// contextEndpoint reads a context as the docker command stores it: see package
// cli/context/store of github.com/docker/cli.
func contextEndpoint(name string) (endpoint, error) {
	fail := func(err error) (endpoint, error) {
		return endpoint{}, fmt.Errorf(
			"use the docker context %q: %w; 'docker context ls' lists them, and --docker-host or DOCKER_HOST goes before them",
			brief(name), err)
	}
	dir, err := configDir()
	if err != nil {
		return fail(err)
	}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	raw, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", id, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return fail(errors.New("there is none of this name"))
	} else if err != nil {
		return fail(err)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return fail(err)
	}
	docker, ok := meta.Endpoints["docker"]
	if !ok || docker.Host == "" {
		return fail(errors.New("it has no Docker Engine"))
	}
	e, err := endpointAt(docker.Host)
	if err == nil && e.dial == nil {
		e.tls, err = contextTLS(filepath.Join(dir, "contexts", "tls", id, "docker"), docker.SkipTLSVerify)
	}
	if err != nil {
		return fail(err)
	}
	return e, nil
}

// contextTLS reads the certificates of a context, those of them that it has; nil
// for none.
func contextTLS(dir string, skipVerify bool) (*tls.Config, error) {
	o := tlsconfig.Options{InsecureSkipVerify: skipVerify, ExclusiveRootPools: true}
	some := skipVerify
	for name, into := range map[string]*string{"ca.pem": &o.CAFile, "cert.pem": &o.CertFile, "key.pem": &o.KeyFile} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			*into, some = file, true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if !some {
		return nil, nil
	}
	return tlsconfig.Client(o)
}

// options set up the Docker client.
func (e endpoint) options() []client.Opt {
	opts := []client.Opt{
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{TLSClientConfig: e.tls}, CheckRedirect: client.CheckRedirect}),
		client.WithVersionFromEnv(),
		client.WithAPIVersionNegotiation(),
	}
	if e.dial != nil {
		// The program dials, so this names nothing.
		return append(opts, client.WithHost("tcp://"+client.DummyHost), client.WithDialContext(e.dial))
	}
	return append(opts, client.WithHost(e.host))
}

// network returns the host and port to which connections go; empty for a socket
// file.
func (e endpoint) network() (host, port string) {
	u, err := url.Parse(e.host)
	if err != nil || u.Scheme == "unix" || u.Scheme == "npipe" {
		return "", ""
	}
	port = u.Port()
	if u.Scheme == "ssh" && port == "" {
		port = "22"
	}
	return u.Hostname(), port
}
