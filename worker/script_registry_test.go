package main

import (
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

// registry runs an image registry until the script ends, with TLS and credentials. REGISTRY is
// its host and port, REGISTRY_CA a file with its certificate, REGISTRY_AUTH one with who may use it,
// as docker login writes it, and registry the folder that it keeps all in.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: registry")
	}
	server, err := ocitest.StartIn(ts.MkAbs("."), ocitest.Options{TLS: true})
	ts.Check(err)
	ts.Defer(server.Stop)
	ts.Setenv("REGISTRY", server.Address)
	ts.Setenv("REGISTRY_CA", server.CA)
	ts.Setenv("REGISTRY_AUTH", server.Config)
}
