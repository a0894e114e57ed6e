package s3_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

const rightsDir = "points/h/container/n/20261122T213000Z-0011aabb"

// let gives a user the rights of one of the policies that the manual has.
func let(t *testing.T, server *s3test.Server, bucket, policy string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../../deploy/s3", policy+".json"))
	must(t, err)
	must(t, server.Let(t.Context(), bucket, strings.NewReplacer("BUCKET", bucket, "PRINCIPAL", s3test.User).Replace(string(raw))))
}

// attempt writes an artifact of an attempt, and returns its key.
func attempt(t *testing.T, s *object.Sink, name string, size int64) (sink.Staging, string) {
	t.Helper()
	staging, err := s.Stage(t.Context(), rightsDir, name)
	must(t, err)
	w, key, err := staging.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = io.CopyN(w, pattern{}, size)
	must(t, err)
	must(t, w.Commit())
	return staging, key
}

// With the rights of the manual's policies a worker can back up and cannot remove, or can do
// both: in a bucket with object lock, and in one without.
func TestPolicies(t *testing.T) {
	server := s3test.Start(t)
	must(t, server.MakeLocking(t.Context(), "locking"))
	must(t, client(t, s3.Options{Endpoint: server.URL}).MakeBucket(t.Context(), "plain", minio.MakeBucketOptions{}))
	for bucket, newStore := range map[string]func(s3.Options) (object.Store, error){
		"plain":   func(o s3.Options) (object.Store, error) { return s3.New(o) },
		"locking": func(o s3.Options) (object.Store, error) { return s3.NewLocked(o, month) },
	} {
		t.Run(bucket, func(t *testing.T) {
			let(t, server, bucket, "backup")
			store, err := newStore(s3.Options{Bucket: bucket, Endpoint: server.URL, Credentials: server.UserCredentials})
			must(t, err)
			s, err := object.Open(t.Context(), store, "", "")
			must(t, err)
			backsUp(t, s, bucket == "locking")

			let(t, server, bucket, "prune")
			must(t, s.MayRemove(t.Context()))
			must(t, s.Sweep(t.Context(), sink.PointsName))
			if bucket == "locking" {
				if err := s.RemovePoint(t.Context(), rightsDir); !sink.IsKept(err) {
					t.Errorf("it is removed: %v", err)
				}
				for key := range sharedIn(t, s) {
					if err := s.RemoveShared(t.Context(), key); !sink.IsKept(err) {
						t.Errorf("%s is removed: %v", key, err)
					}
				}
				must(t, server.EndLocks(t.Context(), bucket))
			}
			must(t, s.RemovePoint(t.Context(), rightsDir))
			for key := range sharedIn(t, s) {
				must(t, s.RemoveShared(t.Context(), key))
			}
			p := lockingPlace{&place{server: server, options: s3.Options{Bucket: bucket, Endpoint: server.URL}}}
			for key := range p.Contents(t) {
				if key != sink.IdentityName && !strings.HasPrefix(key, ".probe-lock") {
					t.Errorf("%s is left", key)
				}
			}
		})
	}
}

// sharedIn are the keys of the blobs in a sink.
func sharedIn(t *testing.T, s *object.Sink) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	for found, err := range s.Shared(t.Context(), sink.BlobsName) {
		must(t, err)
		keys[found.Key] = true
	}
	return keys
}

// backsUp stores a point, and leaves an attempt that failed, with credentials that may not remove.
func backsUp(t *testing.T, s *object.Sink, locks bool) {
	t.Helper()
	failed, _ := attempt(t, s, "1", 1<<10)
	if err := failed.Discard(t.Context()); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("discard: %v", err)
	}
	if err := s.Unstage(t.Context(), rightsDir, "1"); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("unstage: %v", err)
	}
	staging, key := attempt(t, s, "2", 20<<20)
	for range 2 { // the second time they are there
		must(t, s.Extend(t.Context(), []string{blobIn(t, staging, 1<<10), blobIn(t, staging, 3<<20)}))
	}
	must(t, staging.Publish(t.Context(), []byte(key)))
	must(t, staging.Discard(t.Context()))
	must(t, s.PutMark(t.Context(), rightsDir, sink.VerifiedName, []byte("{}")))
	must(t, s.PutMark(t.Context(), rightsDir, sink.VerifiedName, []byte("{ }")))
	r, err := s.Open(t.Context(), key)
	must(t, err)
	n, err := io.Copy(io.Discard, r)
	must(t, errors.Join(err, r.Close()))
	if n != 20<<20 {
		t.Errorf("%d bytes are read", n)
	}
	for found, err := range s.Points(t.Context(), sink.PointsName) {
		must(t, err)
		if found.Dir != rightsDir || !slices.Equal(found.Marks, []string{sink.VerifiedName}) {
			t.Errorf("there is %+v", found)
		}
	}
	err = s.RemovePoint(t.Context(), rightsDir)
	if !sink.IsKept(err) || errors.Is(err, sink.ErrMayNotRemove) == locks { // the lock is asked first
		t.Errorf("it is removed: %v", err)
	}
	if err := s.MayRemove(t.Context()); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("it may remove: %v", err)
	}
	probed, err := s.Probe(t.Context())
	must(t, err)
	want := []string{"read", "write", "list"}
	if locks {
		want = append(want, "lock (governance, 720h0m0s)")
	}
	if !slices.Equal(probed.May, want) || len(probed.Warnings) != 1 || !strings.Contains(probed.Warnings[0], "may not delete: backups work") {
		t.Errorf("it shows %+v", probed)
	}
}
