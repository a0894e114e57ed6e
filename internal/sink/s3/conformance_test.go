package s3_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// All tests but those of the server's own faults share one server.
func TestConformance(t *testing.T) {
	server := s3test.Start(t)
	n := 0
	objecttest.Run(t, func(t *testing.T) objecttest.Place {
		n++
		p := &place{server: server, options: s3.Options{
			Bucket: fmt.Sprintf("bucket-%d", n), Prefix: "a prefix/with+odd%20ünames", Endpoint: server.URL, Credentials: server.Credentials,
		}}
		must(t, os.Mkdir(filepath.Join(server.Dir, p.options.Bucket), 0o700))
		return p
	})
}

// place is a bucket.
type place struct {
	server  *s3test.Server
	options s3.Options
}

func (p *place) Open(t *testing.T) object.Store { return open(t, p.options) }

func open(t testing.TB, o s3.Options) *s3.Store {
	t.Helper()
	s, err := s3.New(o)
	must(t, err)
	return s
}

// client is another one than the store's, which sees the whole bucket.
func client(t testing.TB, o s3.Options) *minio.Core {
	t.Helper()
	c, err := minio.NewCore(o.Endpoint[len("http://"):], &minio.Options{Creds: credentials.NewStaticV4(s3test.AccessKey, s3test.SecretKey, "")})
	must(t, err)
	return c
}

func (p *place) Contents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	c := client(t, p.options)
	for info := range c.ListObjectsIter(t.Context(), p.options.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		if answer, ok := errors.AsType[minio.ErrorResponse](info.Err); ok && answer.Code == minio.NoSuchBucket {
			return all
		}
		must(t, info.Err)
		all[info.Key] = info.ETag
		if info.Size < 1<<10 {
			all[info.Key] = p.content(t, c, info.Key)
		}
	}
	uploads, err := c.ListMultipartUploads(t.Context(), p.options.Bucket, "", "", "", "", 1000)
	must(t, err)
	for _, u := range uploads.Uploads {
		all[u.Key+" (upload "+u.UploadID+")"] = ""
	}
	return all
}

func (p *place) content(t *testing.T, c *minio.Core, key string) string {
	t.Helper()
	r, info, _, err := c.GetObject(t.Context(), p.options.Bucket, key, minio.GetObjectOptions{})
	must(t, err)
	defer r.Close()
	content := make([]byte, info.Size)
	_, err = r.Read(content)
	if err != nil && info.Size > 0 && err.Error() != "EOF" {
		must(t, err)
	}
	return string(content)
}

func (p *place) Clear(t *testing.T) {
	t.Helper()
	c := client(t, p.options)
	for info := range c.ListObjectsIter(t.Context(), p.options.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(t, info.Err)
		must(t, c.RemoveObject(context.Background(), p.options.Bucket, info.Key, minio.RemoveObjectOptions{}))
	}
}

func (p *place) Vanish(t *testing.T) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(p.server.Dir, p.options.Bucket)))
}
