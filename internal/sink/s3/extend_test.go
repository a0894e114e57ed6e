package s3_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// writeBlob stores a blob of so many bytes by an attempt, and returns its key.
func writeBlob(t *testing.T, s *object.Sink, attempt string, size int64) string {
	t.Helper()
	staging, err := s.Stage(t.Context(), rightsDir, attempt)
	must(t, err)
	return blobIn(t, staging, size)
}

func blobIn(t *testing.T, staging sink.Staging, size int64) string {
	t.Helper()
	w, err := staging.CreateBlob(t.Context(), 0)
	must(t, err)
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(w, sum), pattern{}, size)
	must(t, err)
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	must(t, w.Commit(digest))
	return sink.BlobKey(digest)
}

// lockingBucket returns how a new bucket with object lock is reached through a quirk.
func lockingBucket(t *testing.T, q quirk) (s3.Options, *s3test.Server) {
	t.Helper()
	o, server := behind(t, q)
	must(t, server.MakeLocking(t.Context(), "locking"))
	o.Bucket = "locking"
	return o, server
}

func isRetention(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("retention")
}

// How an object is locked, as another client sees it.
func locked(t *testing.T, o s3.Options, key string) string {
	t.Helper()
	info, err := client(t, o).StatObject(t.Context(), o.Bucket, key, minio.StatObjectOptions{})
	must(t, err)
	return info.Metadata.Get("X-Amz-Object-Lock-Mode") + " " + info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")
}

// A lock gets longer and stronger, and never shorter or weaker, and one that is enough is not
// touched. One that cannot be made stronger stays with the version that it is of, and a copy takes
// its place.
func TestLocksOnlyGrow(t *testing.T) {
	puts := 0
	o, _ := lockingBucket(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if isRetention(r) {
			puts++
		}
		return false
	})
	now := time.Now().UTC().Truncate(time.Second)
	in := func(d time.Duration) string { return " " + now.Add(d).Format(time.RFC3339) }
	open := func(mode string) *s3.LockedStore {
		s, err := s3.NewLocked(o, s3.Lock{Mode: mode, For: time.Hour})
		must(t, err)
		return s
	}
	must(t, open(s3.Governance).Put(t.Context(), "k", []byte("one")))
	for _, c := range []struct {
		mode  string
		until time.Duration
		want  string
		puts  int
	}{
		{s3.Governance, 24 * time.Hour, "GOVERNANCE" + in(24*time.Hour), 1},
		{s3.Governance, time.Hour, "GOVERNANCE" + in(24*time.Hour), 0},
		{s3.Governance, 24 * time.Hour, "GOVERNANCE" + in(24*time.Hour), 0},
		{s3.Governance, 24*time.Hour + time.Millisecond, "GOVERNANCE" + in(24*time.Hour+time.Second), 1},
		{s3.Compliance, time.Hour, "COMPLIANCE" + in(24*time.Hour+time.Second), 1},
		{s3.Governance, time.Hour, "COMPLIANCE" + in(24*time.Hour+time.Second), 0},
		{s3.Governance, 48 * time.Hour, "COMPLIANCE" + in(48*time.Hour), 1},
		{s3.Compliance, 72 * time.Hour, "COMPLIANCE" + in(72*time.Hour), 1},
	} {
		puts = 0
		must(t, open(c.mode).Lock(t.Context(), "k", now.Add(c.until)))
		if got := locked(t, o, "k"); got != c.want || puts != c.puts {
			t.Errorf("%s until %s: it is %q after %d requests, want %q after %d", c.mode, c.until, got, puts, c.want, c.puts)
		}
	}
}

// A lock of governance that has ended is in the way of none of compliance.
func TestLockedAgain(t *testing.T) {
	o, server := lockingBucket(t, func(http.ResponseWriter, *http.Request, http.Handler) bool { return false })
	governance := openLocking(t, o)
	must(t, governance.Put(t.Context(), "k", []byte("one")))
	must(t, governance.Lock(t.Context(), "k", time.Now().Add(time.Hour)))
	must(t, server.EndLocks(t.Context(), o.Bucket))
	compliance, err := s3.NewLocked(o, s3.Lock{Mode: s3.Compliance, For: time.Hour})
	must(t, err)
	must(t, compliance.Lock(t.Context(), "k", time.Now().Add(time.Hour)))
	if got := locked(t, o, "k"); !strings.HasPrefix(got, "COMPLIANCE 20") {
		t.Errorf("it is %q", got)
	}
	r, _, err := compliance.Open(t.Context(), "k", 0, -1, "")
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	if string(content) != "one" {
		t.Errorf("it holds %q", content)
	}
}

// Another host locks a blob for longer at the same time, and the service refuses to shorten that:
// then it is locked. What it refuses otherwise is an error.
func TestLockedForLongerMeanwhile(t *testing.T) {
	for _, longer := range []bool{true, false} {
		lockOther := func() error { return nil }
		o, server := lockingBucket(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !isRetention(r) {
				return false
			}
			if err := lockOther(); err != nil {
				t.Error(err)
			}
			refuse(w, http.StatusForbidden, minio.AccessDenied)
			return true
		})
		admin, err := server.Admin()
		must(t, err)
		if longer {
			lockOther = func() error {
				mode, later := minio.Governance, time.Now().Add(100*time.Hour).UTC()
				return admin.PutObjectRetention(t.Context(), o.Bucket, "k", minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &later})
			}
		}
		s := openLocking(t, o)
		must(t, s.Put(t.Context(), "k", []byte("one")))
		if err := s.Lock(t.Context(), "k", time.Now().Add(time.Hour)); (err == nil) != longer || err != nil && !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("longer by another one %t: %v", longer, err)
		}
	}
}

// Of compliance nobody ends the lock of a blob that a locked point needs, whether it was there
// before or not: not even who may do everything, and who asks to bypass it. What is written
// over it is locked too, and what it hides stays.
func TestBlobsAreLocked(t *testing.T) {
	o, _ := lockingBucket(t, func(http.ResponseWriter, *http.Request, http.Handler) bool { return false })
	store, err := s3.NewLocked(o, s3.Lock{Mode: s3.Compliance, For: 24 * time.Hour})
	must(t, err)
	s, err := object.Open(t.Context(), store, "", "")
	must(t, err)
	small, large := writeBlob(t, s, "1", 1<<10), writeBlob(t, s, "1", 20<<20)
	must(t, s.Extend(t.Context(), []string{small, large}))
	writeBlob(t, s, "2", 1<<10)
	writeBlob(t, s, "2", 20<<20)
	must(t, s.RemoveShared(t.Context(), writeBlob(t, s, "2", 2<<10)))
	admin, refused := client(t, o), 0
	for info := range admin.ListObjectsIter(t.Context(), o.Bucket, minio.ListObjectsOptions{Prefix: sink.BlobsName, Recursive: true, WithVersions: true}) {
		must(t, info.Err)
		err := admin.RemoveObject(t.Context(), o.Bucket, info.Key, minio.RemoveObjectOptions{VersionID: info.VersionID, GovernanceBypass: true})
		if err == nil {
			t.Errorf("%s is removed", info.Key)
		}
		refused++
	}
	if refused != 4 {
		t.Errorf("%d versions are locked, want two of each blob", refused)
	}
	for key, size := range map[string]int64{small: 1 << 10, large: 20 << 20} {
		if info, err := s.Stat(t.Context(), key); err != nil || info.Size != size {
			t.Errorf("%s is %+v, %v", key, info, err)
		}
	}
}
