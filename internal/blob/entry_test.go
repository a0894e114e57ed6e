package blob_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

const diffID = "sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2"

// sealed returns a sink that encrypts, and its seal.
func sealed(t testing.TB) (*sinktest.Memory, *seal.Sealed) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Options{Recipients: []string{identity.Recipient().String()}, NameKeyFile: file})
	if err != nil {
		t.Fatal(err)
	}
	m := sinktest.NewMemory()
	return m, &seal.Sealed{Sink: m, Seal: s}
}

// stored returns the key and the bytes of an entry as it lies in a sink.
func stored(t testing.TB, m *sinktest.Memory, s *seal.Sealed, name, encryption string) (key, content string) {
	t.Helper()
	e := blob.Entry{Name: name, Digest: diffID, Size: 17, UncompressedSize: 170, Encryption: encryption,
		Pushed: []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: diffID, Size: 18}}}
	if err := e.Put(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	for key, content = range m.Contents() {
	}
	return key, content
}

// read reads an entry of which this is stored.
func read(t testing.TB, names *seal.Names, raw []byte) (blob.Entry, bool) {
	t.Helper()
	e, ok, err := blob.ReadEntry(context.Background(), func(context.Context, string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}, names, diffID)
	if err != nil {
		t.Fatal(err)
	}
	return e, ok
}

// An entry that is encrypted is read by who has the key alone, and at its own key; and one in
// clear does not pass for one.
func TestSealedEntry(t *testing.T) {
	m, s := sealed(t)
	names := s.Seal.Names()
	key, content := stored(t, m, s, names.Of(diffID), seal.Format)
	if strings.Contains(key+content, "cae662172fd450bb") {
		t.Errorf("the digest is in clear in %s", key)
	}
	if e, ok := read(t, names, []byte(content)); !ok || e.Size != 17 || e.Encryption != seal.Format || len(e.Pushed) != 1 {
		t.Errorf("it is read as %+v, %t", e, ok)
	}
	if _, ok := read(t, nil, []byte(content)); ok {
		t.Error("it is read without the key")
	}
	plain, err := names.Open(key, []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := read(t, names, plain); ok {
		t.Error("it is read in clear")
	}
	if _, ok := read(t, names, names.Seal("layers/another.json", plain)); ok {
		t.Error("it is read at another key")
	}
	if err := (blob.Entry{Name: names.Of(diffID), Encryption: seal.Format}).Put(t.Context(), m); err != blob.ErrNoNames {
		t.Errorf("without the key it is stored: %v", err)
	}
}

// Whatever an entry holds, in clear or under its encryption, what is read of it can be stored
// and read again; and what was encrypted counts only as it was written.
func FuzzReadEntry(f *testing.F) {
	m, s := sealed(f)
	names := s.Seal.Names()
	key, written := stored(f, m, s, names.Of(diffID), seal.Format)
	plain, err := names.Open(key, []byte(written))
	if err != nil {
		f.Fatal(err)
	}
	clear := sinktest.NewMemory()
	_, inClear := stored(f, clear, &seal.Sealed{Sink: clear}, diffID, "")
	for _, seed := range []string{written, string(plain), inClear, "", "{}", `{"formatVersion":1,"size":-1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, ok := read(t, names, raw); ok && string(raw) != written {
			t.Errorf("%q counts, which nobody has written", raw)
		}
		for _, c := range []struct {
			names *seal.Names
			raw   []byte
		}{{nil, raw}, {names, names.Seal(key, raw)}} {
			e, ok := read(t, c.names, c.raw)
			if !ok {
				continue
			}
			in := sinktest.NewMemory()
			if err := e.Put(t.Context(), &seal.Sealed{Sink: in, Seal: s.Seal}); err != nil {
				t.Fatal(err)
			}
			for _, content := range in.Contents() {
				if again, ok := read(t, c.names, []byte(content)); !ok || !reflect.DeepEqual(again, e) {
					t.Errorf("%q is read as %+v, and stored and read again as %+v, %t", raw, e, again, ok)
				}
			}
		}
	})
}
