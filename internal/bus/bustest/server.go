// Package bustest runs real message servers for tests, each in a process of its
// own: one, or a cluster.
package bustest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/porttest"
)

// Config changes a server's configuration. The zero value changes nothing.
type Config struct {
	// MaxStore bounds the bytes that streams can reserve.
	MaxStore int64
	// Permissions are those of the user, in the server's own notation.
	Permissions string
}

// Server starts a server that ends with the test. The program is built from the
// module that this one requires.
func Server(t testing.TB, c ...Config) *Process {
	t.Helper()
	p := process(t, freeAddress(t), "", first(c))
	p.Start()
	return p
}

func first(c []Config) Config {
	if len(c) == 0 {
		return Config{}
	}
	return c[0]
}

// process returns a server that does not run yet, and ends with the test. The
// cluster is a part of its configuration.
func process(t testing.TB, address, cluster string, c Config) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{
		URL:      "nats://" + address,
		User:     "test",
		Password: "secret",
		t:        t,
		address:  address,
		config:   filepath.Join(dir, "nats.conf"),
		log:      filepath.Join(dir, "nats.log"),
	}
	if err := os.WriteFile(p.config, []byte(p.configuration(dir, cluster, c)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func (p *Process) configuration(dir, cluster string, c Config) string {
	limit, permissions := "", ""
	if c.MaxStore > 0 {
		limit = fmt.Sprintf("max_file_store: %d", c.MaxStore)
	}
	if c.Permissions != "" {
		permissions = "permissions: { " + c.Permissions + " }"
	}
	return fmt.Sprintf(`
listen: %q
jetstream { store_dir: %q, sync_interval: always, %s }
authorization { users: [ { user: %q, password: %q, %s } ] }
%s
`, p.address, filepath.Join(dir, "store"), limit, p.User, p.Password, permissions, cluster)
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := porttest.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address.String()
}
