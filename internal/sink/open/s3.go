package open

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/s3"
)

// s3Scheme is the scheme of sinks in a bucket: s3://bucket/prefix.
var s3Scheme = inStore(s3Store,
	"endpoint", "region", "pathStyle", "storageClass", "serverSideEncryption", "ca", "credentialsFile", "profile", "maxArtifact", "maxParts",
	"lock", "lockFor")

func s3Store(c Config, _ bool) (object.Store, error) {
	o, err := s3Options(c)
	if err != nil {
		return nil, err
	}
	if lock := (s3.Lock{Mode: c.Lock, For: c.LockFor}); lock != (s3.Lock{}) {
		return s3.NewLocked(o, lock)
	}
	return s3.New(o)
}

func s3Options(c Config) (s3.Options, error) {
	bucket, prefix, err := bucketIn(c.URL, "endpoint")
	return s3.Options{
		Bucket: bucket, Prefix: prefix, Endpoint: c.Endpoint, Region: c.Region, PathStyle: c.PathStyle, StorageClass: c.StorageClass,
		Encryption: c.ServerSideEncryption, CA: c.CA, Credentials: c.CredentialsFile, Profile: c.Profile, MaxArtifact: int64(c.MaxArtifact),
		MaxParts: c.MaxParts,
	}, err
}

// bucketIn splits the URL of a bucket and a prefix in it. Where the service is stands in
// the setting where.
func bucketIn(location, where string) (bucket, prefix string, err error) {
	u, err := url.Parse(location)
	if err != nil {
		// The error of the URL would repeat the location with its password.
		return "", "", errors.New("the location is not a valid URL")
	}
	if u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(location, "#") {
		return "", "", fmt.Errorf("it is %s://bucket/prefix, without user, query or fragment; write '?' as %%3F and '#' as %%23", u.Scheme)
	}
	if u.Host == "" || u.Port() != "" {
		return "", "", fmt.Errorf("it is %s://bucket/prefix, and names no bucket; where it is goes into %s", u.Scheme, where)
	}
	prefix = strings.Trim(u.Path, "/")
	if prefix == "" {
		return u.Host, "", nil
	}
	return u.Host, prefix, sink.CheckKey(prefix)
}
