package bustest

import "testing"

// Program returns the path of the nats-server program that Server starts, for
// tests that bring a configuration of their own.
func Program(t testing.TB) string { return program(t) }
