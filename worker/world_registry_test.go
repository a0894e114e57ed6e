package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

// registryRepository is where in its registry a world's sink lies.
const registryRepository = "some/repository"

// inRegistry is a registry in which a world's sink lies, and which the Engine reaches.
type inRegistry struct {
	*ocitest.Server
	store *oci.Store
	// at is its host:port for the workers and the Engine.
	at string
}

func newInRegistry(w *world, o worldOptions) *inRegistry {
	w.t.Helper()
	r := &inRegistry{Server: ocitest.Start(w.t, ocitest.Options{TLS: true, Elsewhere: net.ParseIP(dockertest.Address)})}
	port := w.reaches(r.Address)
	if r.at = r.Address; o.certified {
		r.at = net.JoinHostPort(dockertest.Address, port)
	}
	var err error
	r.store, err = oci.New(oci.Options{Registry: r.Address, Repository: registryRepository, CA: r.CA, UserFile: r.UserFile,
		PasswordFile: r.PasswordFile})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// reaches has the Engine reach what listens at an address of this machine's loopback, at the same port.
func (w *world) reaches(address string) (port string) {
	w.t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine.Forward(w.t, n)
	return port
}

// settings are those of the sink.
func (r *inRegistry) settings() string {
	return fmt.Sprintf("{url: oci://%s/%s, ca: %q, userFile: %q, passwordFile: %q, format: layers}", r.at, registryRepository, r.CA,
		r.UserFile, r.PasswordFile)
}

// mirror makes a folder what lies in the sink, object by object, so that it is checked as any other.
func (r *inRegistry) mirror(ctx context.Context, folder string) error {
	if err := errors.Join(os.RemoveAll(folder), os.MkdirAll(folder, 0o700)); err != nil {
		return err
	}
	var all []object.Entry // listing and reading at a time is not asked for
	for entry, err := range r.store.List(ctx, "") {
		if err != nil {
			return err
		}
		all = append(all, entry)
	}
	for _, entry := range all {
		if err := r.copyTo(ctx, entry.Key, filepath.Join(folder, entry.Key)); err != nil && !errors.Is(err, sink.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (r *inRegistry) copyTo(ctx context.Context, key, path string) error {
	from, _, err := r.store.Open(ctx, key, 0, -1, "")
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(from)
	if err := errors.Join(err, from.Close(), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// takes is how many bytes have come of the largest blob that is being pushed.
func (r *inRegistry) takes() (most int64) {
	uploads, _ := filepath.Glob(filepath.Join(r.Repository(registryRepository), "_uploads/*/data"))
	for _, upload := range uploads {
		if info, err := os.Stat(upload); err == nil { // else it has ended
			most = max(most, info.Size())
		}
	}
	return most
}

// checkSnapshots: nothing is left of what Engines have pushed for attempts.
func (r *inRegistry) checkSnapshots() (wrong error) {
	tags, err := os.ReadDir(filepath.Join(r.Repository(registryRepository), "_manifests/tags"))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if strings.HasPrefix(tag.Name(), sink.SnapshotTag) {
			wrong = errors.Join(wrong, fmt.Errorf("%s is left in the registry", tag.Name()))
		}
	}
	return wrong
}
