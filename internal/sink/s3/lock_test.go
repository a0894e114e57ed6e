package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

var month = s3.Lock{Mode: s3.Governance, For: 30 * 24 * time.Hour}

// A bucket with object lock, of which every version counts.
func TestLockingConformance(t *testing.T) {
	server := s3test.Start(t)
	n := 0
	objecttest.RunLocking(t, func(t *testing.T) objecttest.LockingPlace {
		n++
		return newLockingPlace(t, server, fmt.Sprintf("locking-%d", n))
	})
	objecttest.RunStore(t, func(t *testing.T) objecttest.Place {
		n++
		return newLockingPlace(t, server, fmt.Sprintf("locking-%d", n))
	})
}

type lockingPlace struct{ *place }

func newLockingPlace(t *testing.T, server *s3test.Server, bucket string) lockingPlace {
	t.Helper()
	must(t, server.MakeLocking(t.Context(), bucket))
	return lockingPlace{&place{server: server, options: s3.Options{
		Bucket: bucket, Prefix: "a prefix/ünames", Endpoint: server.URL, Credentials: server.Credentials,
	}}}
}

func (p lockingPlace) Open(t *testing.T) object.Store {
	t.Helper()
	return openLocking(t, p.options)
}

func openLocking(t *testing.T, o s3.Options) *s3.LockedStore {
	t.Helper()
	s, err := s3.NewLocked(o, month)
	must(t, err)
	return s
}

// Contents has every version, and every delete marker, but for the older versions of what is
// there.
func (p lockingPlace) Contents(t *testing.T) map[string]string {
	t.Helper()
	all := p.place.Contents(t)
	for info := range client(t, p.options).ListObjectsIter(t.Context(), p.options.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if answer, ok := errors.AsType[minio.ErrorResponse](info.Err); ok && answer.Code == minio.NoSuchBucket {
			return all
		}
		must(t, info.Err)
		if _, there := all[info.Key]; !there {
			all[info.Key+" (version "+info.VersionID+")"] = ""
		}
	}
	return all
}

func (p lockingPlace) EndLocks(t *testing.T) {
	t.Helper()
	must(t, p.server.EndLocks(t.Context(), p.options.Bucket))
}

// Nothing is stored in a bucket that locks nothing, as if it were a plain one.
func TestABucketWithoutLock(t *testing.T) {
	o, server := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Query().Has("object-lock") && strings.HasPrefix(r.URL.Path, "/unknowing") {
			refuse(w, http.StatusNotImplemented, "NotImplemented")
			return true
		}
		if r.URL.Query().Has("object-lock") && strings.HasPrefix(r.URL.Path, "/ignoring") {
			_, _ = w.Write([]byte("<ListBucketResult></ListBucketResult>"))
			return true
		}
		return false
	})
	for bucket, says := range map[string]string{s3test.Bucket: "has no object lock", "unknowing": "knows no object lock", "ignoring": "knows no object lock"} {
		o.Bucket = bucket
		for _, err := range []error{
			second(object.Open(t.Context(), openLocking(t, o), "", "")), second(object.OpenExisting(t.Context(), openLocking(t, o))),
		} {
			if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want it to say %q", bucket, err, says)
			}
		}
	}
	if all := (&place{server: server, options: s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL}}).Contents(t); len(all) > 0 {
		t.Errorf("there are %q", all)
	}
}

func second(_ *object.Sink, err error) error { return err }

func TestLocksThatMakeNoSense(t *testing.T) {
	for says, lock := range map[string]s3.Lock{
		`lock is ""; it must be governance or compliance`:           {For: time.Hour},
		`lock is "Compliance"; it must be governance or compliance`: {Mode: "Compliance", For: time.Hour},
		"lockFor is 0s; it must say how long":                       {Mode: s3.Governance},
		"lockFor is 59s; it must say how long":                      {Mode: s3.Compliance, For: 59 * time.Second},
	} {
		if _, err := s3.NewLocked(s3.Options{Bucket: "b"}, lock); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want it to say %q", lock, err, says)
		}
	}
}

// What the bucket itself keeps is said.
func TestABucketThatKeepsMore(t *testing.T) {
	server := s3test.Start(t)
	must(t, server.MakeLocking(t.Context(), "locking"))
	o := s3.Options{Bucket: "locking", Endpoint: server.URL, Credentials: server.Credentials}
	check := func(s object.Store, want string) {
		t.Helper()
		caveats, err := s.Caveats(t.Context(), "tried")
		must(t, err)
		if got := strings.Join(caveats, "; "); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("the caveats are %q, want %q", got, want)
		}
	}
	check(openLocking(t, o), "")
	check(open(t, o), "the bucket keeps versions")
	mode, days, unit := minio.Governance, uint(7), minio.Days
	must(t, client(t, o).SetBucketObjectLockConfig(t.Context(), "locking", &mode, &days, &unit))
	check(openLocking(t, o), "default retention (7 days) locks also marks")
}

// Every object of a point is locked, and of compliance nobody ends a lock: not even who may do
// everything, and who asks to bypass it.
func TestEveryObjectIsLocked(t *testing.T) {
	server := s3test.Start(t)
	must(t, server.MakeLocking(t.Context(), "locking"))
	o := s3.Options{Bucket: "locking", Endpoint: server.URL, Credentials: server.Credentials}
	store, err := s3.NewLocked(o, s3.Lock{Mode: s3.Compliance, For: 24 * time.Hour})
	must(t, err)
	s, err := object.Open(t.Context(), store, "", "")
	must(t, err)
	staging, large := attempt(t, s, "1", 20<<20)
	w, small, err := staging.Create(t.Context(), "container.json", 0)
	must(t, err)
	must(t, w.Commit())
	must(t, staging.Publish(t.Context(), []byte(large+small)))
	must(t, staging.Discard(t.Context()))
	must(t, s.PutMark(t.Context(), rightsDir, sink.VerifiedName, []byte("{}")))
	admin, refused := client(t, o), 0
	for info := range admin.ListObjectsIter(t.Context(), o.Bucket, minio.ListObjectsOptions{Prefix: rightsDir, Recursive: true, WithVersions: true}) {
		must(t, info.Err)
		err := admin.RemoveObject(t.Context(), o.Bucket, info.Key, minio.RemoveObjectOptions{VersionID: info.VersionID, GovernanceBypass: true})
		if isMark := strings.HasSuffix(info.Key, sink.VerifiedName); (err == nil) != isMark {
			t.Errorf("remove %s: %v", info.Key, err)
		}
		if err != nil {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d objects are locked, want the manifest and two artifacts", refused)
	}
}
