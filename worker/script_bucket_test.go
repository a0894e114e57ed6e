package main

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// bucket [locking] runs an S3 server until the script ends. BUCKET is a bucket of it, with
// object lock if that is asked for, S3_URL how it is reached, S3_CREDENTIALS a file with its
// credentials, and s3 the folder of its buckets. S3_USER is a file with the credentials of
// a user who may do what the bucket's policy says.
// SKEWED_URL is another way to it, on which its clock is an hour ahead.
func cmdBucket(ts *testscript.TestScript, neg bool, args []string) {
	locking := len(args) == 1 && args[0] == "locking"
	if neg || len(args) > 0 && !locking {
		ts.Fatalf("usage: bucket [locking]")
	}
	server, err := s3test.StartIn(ts.MkAbs("."))
	ts.Check(err)
	ts.Defer(server.Stop)
	bucket := s3test.Bucket
	if locking {
		bucket = "locking"
		ts.Check(server.MakeLocking(context.Background(), bucket))
	}
	ts.Setenv("BUCKET", bucket)
	ts.Setenv("S3_URL", server.URL)
	skewed := httptest.NewServer(server.Skewed(time.Hour))
	ts.Defer(skewed.Close)
	ts.Setenv("SKEWED_URL", skewed.URL)
	ts.Setenv("S3_CREDENTIALS", server.Credentials)
	ts.Setenv("S3_USER", server.UserCredentials)
}

// bucketServer returns the server that a bucket command of the script runs.
func bucketServer(ts *testscript.TestScript) *s3test.Server {
	return s3test.At(ts.Getenv("S3_URL"))
}

// allow POLICY lets the user of the bucket what one of deploy/s3 says.
func cmdAllow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: allow POLICY")
	}
	raw, err := os.ReadFile(filepath.Join("../deploy/s3", args[0]+".json"))
	ts.Check(err)
	bucket := ts.Getenv("BUCKET")
	policy := strings.NewReplacer("BUCKET", bucket, "PRINCIPAL", s3test.User).Replace(string(raw))
	ts.Check(bucketServer(ts).Let(context.Background(), bucket, policy))
}

// unlock ends the locks of all that is in the bucket, as time does.
func cmdUnlock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: unlock")
	}
	ts.Check(bucketServer(ts).EndLocks(context.Background(), ts.Getenv("BUCKET")))
}
