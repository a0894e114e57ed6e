package main

import (
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// bucket runs an S3 server until the script ends. BUCKET is a bucket of it, S3_URL how it is
// reached, S3_CREDENTIALS a file with its credentials, and s3 the folder of its buckets.
func cmdBucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: bucket")
	}
	server, err := s3test.StartIn(ts.MkAbs("."))
	ts.Check(err)
	ts.Defer(server.Stop)
	ts.Setenv("BUCKET", s3test.Bucket)
	ts.Setenv("S3_URL", server.URL)
	ts.Setenv("S3_CREDENTIALS", server.Credentials)
}
