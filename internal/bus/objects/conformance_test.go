package objects_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/objects"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	_, o := bustest.External(t)
	_, js := bustest.Operator(t, o)
	n := 0
	objecttest.Run(t, func(t *testing.T) objecttest.Place {
		n++
		p := &place{js: js, options: options(t, o)}
		p.options.Bucket, p.options.Prefix = fmt.Sprintf("bucket-%d", n), "a prefix/with+odd%20ünames"
		makeBucket(t, js, jetstream.ObjectStoreConfig{Bucket: p.options.Bucket})
		t.Cleanup(func() { _ = js.DeleteObjectStore(t.Context(), p.options.Bucket) })
		return p
	})
}

func makeBucket(t testing.TB, js jetstream.JetStream, c jetstream.ObjectStoreConfig) jetstream.ObjectStore {
	t.Helper()
	bucket, err := js.CreateObjectStore(t.Context(), c)
	must(t, err)
	return bucket
}

// options are those of a store in the bucket test of a server.
func options(t testing.TB, o bus.Options) objects.Options {
	t.Helper()
	return objects.Options{Bucket: "test", Server: o.URL, User: file(t, o.User), Password: file(t, o.Password)}
}

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte(content+"\n"), 0o600))
	return path
}

func open(t testing.TB, o objects.Options) *objects.Store {
	t.Helper()
	s, err := objects.New(o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// place is a bucket.
type place struct {
	js      jetstream.JetStream
	options objects.Options
}

func (p *place) Open(t *testing.T) object.Store { return open(t, p.options) }

func (p *place) Contents(t *testing.T) map[string]string {
	t.Helper()
	return contents(t, p.js, p.options.Bucket)
}

// contents are the objects of a bucket by their names, as a client of NATS reads them, and
// the chunks that belong to none by their subjects.
func contents(t testing.TB, js jetstream.JetStream, bucket string) map[string]string {
	t.Helper()
	all, owned := map[string]string{}, []string{}
	stream, err := js.Stream(t.Context(), "OBJ_"+bucket)
	if err != nil {
		return all
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	must(t, err)
	for subject, n := range info.State.Subjects {
		name, isMeta := strings.CutPrefix(subject, "$O."+bucket+".M.")
		if !isMeta {
			all[subject] = fmt.Sprint(n)
			continue
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), subject)
		must(t, err)
		var meta jetstream.ObjectInfo
		must(t, json.Unmarshal(m.Data, &meta))
		key, err := base64.URLEncoding.DecodeString(name)
		must(t, err)
		all[string(key)] = content(t, js, bucket, meta)
		if !meta.Deleted {
			owned = append(owned, "$O."+bucket+".C."+meta.NUID)
		}
	}
	for _, subject := range owned {
		delete(all, subject)
	}
	return all
}

func content(t testing.TB, js jetstream.JetStream, bucket string, meta jetstream.ObjectInfo) string {
	t.Helper()
	if meta.Deleted || meta.Size > 1<<10 {
		raw, err := json.Marshal(meta)
		must(t, err)
		return string(raw)
	}
	store, err := js.ObjectStore(t.Context(), bucket)
	must(t, err)
	got, err := store.GetString(t.Context(), meta.Name)
	must(t, err)
	return got
}

func (p *place) Clear(t *testing.T) {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), "OBJ_"+p.options.Bucket)
	must(t, err)
	must(t, stream.Purge(t.Context()))
}

func (p *place) Vanish(t *testing.T) {
	t.Helper()
	must(t, p.js.DeleteObjectStore(t.Context(), p.options.Bucket))
}
