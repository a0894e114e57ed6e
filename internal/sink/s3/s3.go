// Package s3 is an object store that speaks the S3 protocol: of Amazon, or of any other
// service or server that has it.
package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is what every S3 service checks
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/conn"
)

// Options say where a store lies, and how it is used.
type Options struct {
	// Bucket is there already, and Prefix is what all keys begin with, without a slash at
	// its end; empty for the whole bucket.
	Bucket, Prefix string
	// Endpoint is the URL of the service, https://host:port; empty for Amazon's.
	Endpoint string
	// Region is the bucket's; empty to find it out, or where the service has none.
	Region string
	// PathStyle puts the bucket into the path of a URL, and not in front of its host.
	PathStyle bool
	// StorageClass is what objects are stored as; empty for the bucket's own.
	StorageClass string
	// Encryption is what the service encrypts with: AES256, aws:kms, or aws:kms:<key id>;
	// empty for the bucket's own.
	Encryption string
	// CA is a file of PEM certificates that the service's is signed by, beside the system's.
	CA string
	// Credentials is a file of the form of ~/.aws/credentials, and Profile the section in
	// it; empty for the usual chain: environment, ~/.aws/credentials, the machine's role.
	Credentials, Profile string
	// MaxArtifact is how many bytes an artifact of unknown size has at most. It decides how
	// large its parts are; 0 for DefaultMaxArtifact.
	MaxArtifact int64
	// MaxParts is how many parts the service takes for one object; 0 for DefaultMaxParts.
	MaxParts int

	idle time.Duration // for how long a connection may stand still; 0 for a minute
}

// maxTries is how often a request is tried: for about half a minute, as one waits up to a
// second between two.
const maxTries = 60

// Store is a prefix in a bucket.
type Store struct {
	core    *minio.Core
	options Options
	prefix  string // of all keys; ends with a slash unless it is empty
	place   string
	sse     encrypt.ServerSide
	// unconditional is set when the service has said that it does not know conditions.
	unconditional atomic.Bool
	// versioned is set if what is removed must not leave its versions.
	versioned bool
}

var (
	_ object.Store  = (*Store)(nil)
	_ object.Billed = (*Store)(nil)
)

// New checks the options, and connects to nothing.
func New(o Options) (*Store, error) {
	host, secure, err := endpoint(o)
	if err != nil {
		return nil, err
	}
	sse, err := serverSide(o.Encryption)
	if err != nil {
		return nil, err
	}
	transport, err := transport(o, secure)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(host, &minio.Options{
		Creds: newCredentials(o.Credentials, o.Profile), Secure: secure, Transport: transport, Region: region(o),
		BucketLookup: lookup, MaxRetries: maxTries,
	})
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", o.Endpoint, err)
	}
	s := &Store{core: core, options: o, prefix: o.Prefix, sse: sse, place: Place(o)}
	if s.prefix != "" {
		s.prefix += "/"
	}
	return s, nil
}

// Place returns where a store lies, in its one canonical form.
func Place(o Options) string {
	place := "s3://" + o.Bucket
	if o.Prefix != "" {
		place += "/" + o.Prefix
	}
	if o.Endpoint != "" {
		place += " (" + strings.TrimSuffix(o.Endpoint, "/") + ")"
	}
	return place
}

// amazon is the endpoint that stands for all of Amazon's.
const amazon = "s3.amazonaws.com"

func endpoint(o Options) (host string, secure bool, err error) {
	if o.Endpoint == "" {
		return amazon, true, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && u.Scheme != "http" {
		// The error of the URL would repeat it with its password.
		return "", false, errors.New("the endpoint must be https://host or https://host:port, without user, path or query")
	}
	return u.Host, u.Scheme == "https", nil
}

// region returns the region that requests are signed for. Services that are not Amazon's
// mostly take any, and often refuse to say which.
func region(o Options) string {
	for _, r := range []string{o.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")} {
		if r != "" {
			return r
		}
	}
	if o.Endpoint != "" {
		return "us-east-1"
	}
	return ""
}

func serverSide(name string) (encrypt.ServerSide, error) {
	switch kms, key, _ := strings.Cut(strings.TrimPrefix(name, "aws:"), ":"); {
	case name == "":
		return nil, nil
	case name == "AES256":
		return encrypt.NewSSE(), nil
	case strings.HasPrefix(name, "aws:") && kms == "kms":
		return encrypt.NewSSEKMS(key, nil)
	}
	return nil, fmt.Errorf("the server-side encryption %q is not known; it is AES256, aws:kms or aws:kms:<key id>", name)
}

// transport is minio's, which breaks off connections that stand still.
func transport(o Options, secure bool) (http.RoundTripper, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	return t, conn.Tune(t, o.CA, o.idle)
}

// Place implements [object.Store].
func (s *Store) Place(key string) string {
	if key == "" {
		return s.place
	}
	return "s3://" + s.options.Bucket + "/" + s.prefix + key
}

func (s *Store) putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{
		StorageClass: s.options.StorageClass, ServerSideEncryption: s.sse, ContentType: "application/octet-stream",
		DisableContentSha256: true, // Content-MD5 is signed too
	}
}

func md5Of(content []byte) string {
	sum := md5.Sum(content) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, s.putOptions())
}

func (s *Store) put(ctx context.Context, key string, content []byte, o minio.PutObjectOptions) error {
	return s.explain(key, retryConflicts(ctx, func() error {
		_, err := s.core.PutObject(ctx, s.options.Bucket, s.prefix+key, bytes.NewReader(content), int64(len(content)), md5Of(content), "", o)
		return err
	}))
}

// PutNew implements [object.Store]. It looks for the object first, for services that ignore
// the condition.
func (s *Store) PutNew(ctx context.Context, key string, content []byte) error {
	return s.putNew(ctx, key, content, s.putOptions())
}

func (s *Store) putNew(ctx context.Context, key string, content []byte, o minio.PutObjectOptions) error {
	if _, err := s.Stat(ctx, key); !errors.Is(err, sink.ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("%s: %w", s.Place(key), sink.ErrExists)
		}
		return err
	}
	if s.unconditional.Load() {
		return s.put(ctx, key, content, o)
	}
	err := s.putIfAbsent(ctx, key, content, o)
	if errors.Is(err, errNoConditions) {
		s.unconditional.Store(true)
		return s.put(ctx, key, content, o)
	}
	return err
}

// errNoConditions: the service refuses conditions.
var errNoConditions = errors.New("it does not know conditional requests")

// putIfAbsent creates the object on the condition that there is none.
func (s *Store) putIfAbsent(ctx context.Context, key string, content []byte, o minio.PutObjectOptions) error {
	o.SetMatchETagExcept("*")
	err := s.put(ctx, key, content, o)
	switch statusOf(err) {
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusNotModified:
		return fmt.Errorf("%w: %w", sink.ErrExists, err)
	case http.StatusNotImplemented:
		return fmt.Errorf("%w: %w", errNoConditions, err)
	}
	return err
}

// Caveats implements [object.Store].
func (s *Store) Caveats(ctx context.Context, key string) (caveats []string, err error) {
	err = s.putIfAbsent(ctx, key, []byte("first"), s.putOptions())
	if err == nil {
		err = s.putIfAbsent(ctx, key, []byte("second"), s.putOptions())
	}
	const consequence = ": should two workers store one point at a time, the later manifest replaces the first"
	switch {
	case err == nil:
		caveats = append(caveats, "the service ignores If-None-Match"+consequence)
	case errors.Is(err, errNoConditions):
		caveats = append(caveats, "the service refuses If-None-Match"+consequence)
	case !errors.Is(err, sink.ErrExists):
		return nil, err
	}
	return append(caveats, s.versionCaveats(ctx)...), nil
}

// versionCaveats says of a bucket that keeps versions what becomes of what is removed, as far
// as these credentials may know.
func (s *Store) versionCaveats(ctx context.Context) []string {
	if _, mode, days, unit, err := s.core.GetObjectLockConfig(ctx, s.options.Bucket); err == nil && mode != nil && days != nil && unit != nil {
		return []string{fmt.Sprintf("the bucket's own default retention (%d %s) locks also marks and what failed attempts leave; "+
			"take it off, and set lock", *days, strings.ToLower(string(*unit)))}
	}
	if v, err := s.core.GetBucketVersioning(ctx, s.options.Bucket); err == nil && v.Enabled() && !s.versioned {
		return []string{"the bucket keeps versions: what prune removes is there until a rule of the bucket removes what is not current"}
	}
	return nil
}

// Open implements [object.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, object.Info, error) {
	var o minio.GetObjectOptions
	if version != "" {
		if err := o.SetMatchETag(version); err != nil {
			return nil, object.Info{}, err
		}
	}
	if offset > 0 || length >= 0 {
		o.Set("Range", rangeOf(offset, length))
	}
	body, info, header, err := s.core.GetObject(ctx, s.options.Bucket, s.prefix+key, o)
	switch statusOf(err) {
	case http.StatusPreconditionFailed:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), object.ErrChanged)
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), sink.ErrRange)
	}
	if err != nil {
		return nil, object.Info{}, s.explain(key, err)
	}
	size := info.Size
	if total, ok := totalOf(header.Get("Content-Range")); ok {
		size = total
	}
	return body, object.Info{Size: size, Version: info.ETag, Modified: info.LastModified}, nil
}

// rangeOf returns the range of a request, which a service cuts at the object's end.
func rangeOf(offset, length int64) string {
	if length < 0 {
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+max(length, 1)-1)
}

// totalOf returns the size of an object of which a part is sent: bytes 0-4/10.
func totalOf(contentRange string) (int64, bool) {
	_, total, _ := strings.Cut(contentRange, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	return size, err == nil
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key string) (object.Info, error) {
	info, err := s.core.StatObject(ctx, s.options.Bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return object.Info{}, s.explain(key, err)
	}
	return object.Info{Size: info.Size, Version: info.ETag, Modified: info.LastModified}, nil
}

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		last := ""
		found := s.core.ListObjectsIter(ctx, s.options.Bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true})
		for info := range found {
			if info.Err != nil {
				yield(object.Entry{}, s.explain(prefix, info.Err))
				return
			}
			key := strings.TrimPrefix(info.Key, s.prefix)
			if key <= last {
				yield(object.Entry{}, fmt.Errorf("%s: %w: it lists %q after %q; a service that does not list in the order of keys, "+
					"as directory buckets do not, cannot hold a sink", s.Place(prefix), sink.ErrUnavailable, key, last))
				return
			}
			last = key
			about := object.Info{Size: info.Size, Version: strings.Trim(info.ETag, `"`), Modified: info.LastModified}
			if !yield(object.Entry{Key: key, Info: about}, nil) {
				return
			}
		}
	}
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if s.versioned {
		return s.deleteVersions(ctx, key)
	}
	err := s.core.RemoveObject(ctx, s.options.Bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err = s.mayNotRemove(key, err); errors.Is(err, sink.ErrNotFound) {
		return nil
	}
	return err
}

// Sweep implements [object.Store].
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	var keyMarker, idMarker string
	for {
		found, err := s.core.ListMultipartUploads(ctx, s.options.Bucket, s.prefix+prefix, keyMarker, idMarker, "", 0)
		if err != nil {
			return s.explain(prefix, err)
		}
		for _, u := range found.Uploads {
			if !strings.HasPrefix(u.Key, s.prefix+prefix) { // some services ignore the prefix
				continue
			}
			if err := s.abort(ctx, strings.TrimPrefix(u.Key, s.prefix), u.UploadID); err != nil {
				return err
			}
		}
		if !found.IsTruncated || found.NextKeyMarker == keyMarker && found.NextUploadIDMarker == idMarker {
			return nil
		}
		keyMarker, idMarker = found.NextKeyMarker, found.NextUploadIDMarker
	}
}

// abort ends an upload. It is no error if that has ended.
func (s *Store) abort(ctx context.Context, key, id string) error {
	err := s.core.AbortMultipartUpload(ctx, s.options.Bucket, s.prefix+key, id)
	if err = s.mayNotRemove(key, err); errors.Is(err, sink.ErrNotFound) {
		return nil
	}
	return err
}
