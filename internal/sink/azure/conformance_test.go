package azure_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink/azure"
	"holdfast.io/holdfast/internal/sink/azure/azuretest"
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
	server := azuretest.Start(t, nil)
	n := 0
	objecttest.Run(t, func(t *testing.T) objecttest.Place {
		n++
		p := &place{server: server, options: options(t, server)}
		p.options.Container, p.options.Prefix = fmt.Sprintf("container-%d", n), "a prefix/with+odd%20ünames"
		server.Create(p.options.Container)
		return p
	})
}

// options are those of a container of the server, with the account's key.
func options(t testing.TB, server *azuretest.Server) azure.Options {
	t.Helper()
	return azure.Options{
		Container: "backup", Account: azuretest.Account, Endpoint: server.URL, KeyFile: file(t, azuretest.Key),
	}.Hasten(time.Minute)
}

// file returns a file with a secret.
func file(t testing.TB, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(name, []byte(content+"\n"), 0o600))
	return name
}

// place is a container.
type place struct {
	server  *azuretest.Server
	options azure.Options
}

func (p *place) Open(t *testing.T) object.Store { return open(t, p.options) }

func open(t testing.TB, o azure.Options) *azure.Store {
	t.Helper()
	s, err := azure.New(o)
	must(t, err)
	return s
}

func (p *place) Contents(*testing.T) map[string]string { return p.server.Contents(p.options.Container) }

func (p *place) Clear(*testing.T) { p.server.Create(p.options.Container) }

func (p *place) Vanish(*testing.T) { p.server.Remove(p.options.Container) }
