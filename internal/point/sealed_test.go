package point_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// identity makes a key, and returns the file that holds it and its recipient.
func identity(t *testing.T) (file, recipient string) {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, []byte(i.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, i.Recipient().String()
}

func newSeal(t *testing.T, o seal.Options) *seal.Seal {
	t.Helper()
	s, err := seal.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// In a sink with recipients only what is needed to find a point and to prune it is in clear,
// and an identity brings all of it back.
func TestPrivateMembersAreSealed(t *testing.T) {
	file, recipient := identity(t)
	other, _ := identity(t)
	in := sinktest.NewMemory()
	to := &seal.Sealed{Sink: in, Seal: newSeal(t, seal.Options{Recipients: []string{recipient}})}
	whole, err := point.Decode(manifestAt(t, signedDir, func(*point.Manifest) {}))
	if err != nil {
		t.Fatal(err)
	}
	staging, err := to.Stage(t.Context(), signedDir, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer staging.Discard(context.Background()) //nolint:errcheck // it was published
	if err := point.Publish(t.Context(), to, staging, whole); err != nil {
		t.Fatal(err)
	}
	for key, content := range in.Contents() {
		for _, private := range []string{whole.Image.ID, whole.Engine.Version, whole.Request.Source, whole.NotIncluded[0].Destination} {
			if bytes.Contains([]byte(content), []byte(private)) {
				t.Errorf("%s holds %q in clear", key, private)
			}
		}
	}
	read := func() *point.Manifest {
		m, err := point.Read(t.Context(), in, signedDir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := read()
	if m.ID != whole.ID || m.Item != whole.Item || len(m.Artifacts) != len(whole.Artifacts) || !reflect.DeepEqual(m.Tags, whole.Tags) {
		t.Errorf("what is in clear is %+v", m)
	}
	for name, s := range map[string]*seal.Seal{"none": nil, "another": newSeal(t, seal.Options{IdentityFile: other})} {
		if err := read().Unseal(t.Context(), s); !errors.Is(err, seal.ErrNoIdentity) {
			t.Errorf("with the identity %s: %v", name, err)
		}
	}
	if err := m.Unseal(t.Context(), newSeal(t, seal.Options{IdentityFile: file})); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, whole) {
		t.Errorf("it comes back as\n%+v, and was\n%+v", m, whole)
	}
	torn := read()
	torn.Sealed = torn.Sealed[:len(torn.Sealed)-1]
	if err := torn.Unseal(t.Context(), newSeal(t, seal.Options{IdentityFile: file})); !errors.Is(err, point.ErrDamaged) {
		t.Errorf("one that is cut short: %v", err)
	}
}
