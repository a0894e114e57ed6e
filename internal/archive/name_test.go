package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"holdfast.io/holdfast/internal/archive"
)

const drillName = "holdfast/drill:20260302T141503Z-441e7818-1"

// withName reads an archive that was given a name.
func withName(t testing.TB, r io.Reader) ([]byte, error) {
	t.Helper()
	named := archive.WithName(r, drillName)
	b, err := io.ReadAll(named)
	if cerr := named.Close(); cerr != nil {
		t.Error(cerr)
	}
	return b, err
}

// A named archive is that of the same image, and names it as each Engine reads it.
func TestWithName(t *testing.T) {
	for shape, build := range shapes {
		a := build()
		raw := a.bytes(t)
		named, err := withName(t, iotest.HalfReader(bytes.NewReader(raw)))
		if err != nil {
			t.Errorf("%s: %v", shape, err)
			continue
		}
		if _, err := archive.Check(bytes.NewReader(named), a.imageID); err != nil {
			t.Errorf("%s: with a name it is no archive of its image: %v", shape, err)
		}
		documents := contents(t, named)
		var manifest []struct{ RepoTags []string }
		if err := json.Unmarshal(documents["manifest.json"], &manifest); err != nil || len(manifest) != 1 ||
			len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != drillName {
			t.Errorf("%s: manifest.json is %s (%v)", shape, documents["manifest.json"], err)
		}
		if documents["index.json"] == nil {
			continue
		}
		var index struct {
			Manifests []struct{ Annotations map[string]string }
		}
		if err := json.Unmarshal(documents["index.json"], &index); err != nil || len(index.Manifests) != 1 ||
			index.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/"+drillName {
			t.Errorf("%s: index.json is %s (%v)", shape, documents["index.json"], err)
		}
	}
}

// contents returns the files of an archive.
func contents(t testing.TB, raw []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithNameOfWhatIsNone(t *testing.T) {
	two := classicArchive()
	two.replace("manifest.json", []byte(`[{},{}]`))
	noList := classicArchive()
	noList.replace("manifest.json", []byte(`{}`))
	noIndex := ociArchive()
	noIndex.replace("index.json", []byte(`{"manifests":[]}`))
	raw := classicArchive().bytes(t)
	for name, b := range map[string][]byte{
		"two images":           two.bytes(t),
		"no list":              noList.bytes(t),
		"an index of no image": noIndex.bytes(t),
		"no archive":           bytes.Repeat([]byte("x"), 2000),
		"cut short":            raw[:len(raw)/2],
	} {
		if _, err := withName(t, bytes.NewReader(b)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	broken := errors.New("broken")
	for name, r := range map[string]io.Reader{
		"in the middle": io.MultiReader(bytes.NewReader(raw[:len(raw)/2]), iotest.ErrReader(broken)),
		"at its end":    io.MultiReader(bytes.NewReader(raw), iotest.ErrReader(broken)),
	} {
		if _, err := withName(t, r); !errors.Is(err, broken) {
			t.Errorf("an error %s was reported as %v", name, err)
		}
	}
}

// What is not read to its end is not read any more after its Close.
func TestWithNameClosed(t *testing.T) {
	named := archive.WithName(bytes.NewReader(classicArchive().bytes(t)), drillName)
	if _, err := io.CopyN(io.Discard, named, 10); err != nil {
		t.Fatal(err)
	}
	if err := named.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzWithName(f *testing.F) {
	for _, build := range shapes {
		f.Add(build().bytes(f))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { _, _ = withName(t, bytes.NewReader(raw)) })
}
