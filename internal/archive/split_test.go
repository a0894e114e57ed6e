package archive_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/archive"
)

// taken is who takes layers in tests. It keeps them by their diff ids.
type taken struct {
	plain   map[string][]byte
	aborted int
	fail    error // what every call from the second layer on reports
	n       int
}

type takenLayer struct {
	bytes.Buffer
	to    *taken
	ended bool
}

func (k *taken) Next(string, int64) (archive.Layer, error) {
	if k.n++; k.n > 1 && k.fail != nil {
		return nil, k.fail
	}
	return &takenLayer{to: k}, nil
}

func (l *takenLayer) End(diffID string) error {
	l.ended = true
	l.to.plain[diffID] = bytes.Clone(l.Bytes())
	return nil
}

func (l *takenLayer) Abort() {
	if !l.ended {
		l.to.aborted++
	}
}

func split(r io.Reader, imageID string) (*archive.Info, *taken, error) {
	k := &taken{plain: map[string][]byte{}}
	info, err := archive.Split(r, imageID, k)
	return info, k, err
}

// Of every shape the layers come out plain, and joined again they are the same image, by
// its configuration, for every Engine.
func TestSplitAndJoin(t *testing.T) {
	for name, shape := range shapes {
		a := shape()
		raw := a.bytes(t)
		checked, err := archive.Check(bytes.NewReader(raw), a.imageID)
		if err != nil {
			t.Fatal(err)
		}
		info, k, err := split(bytes.NewReader(raw), a.imageID)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.ConfigDigest != checked.ConfigDigest || !slices.Equal(info.DiffIDs, checked.DiffIDs) || "sha256:"+sha256Hex(info.Config) != info.ConfigDigest {
			t.Errorf("%s: it is %+v, and Check says %+v", name, info, checked)
		}
		for i, l := range layers {
			if got := k.plain["sha256:"+sha256Hex(l)]; !bytes.Equal(got, l) {
				t.Errorf("%s: layer %d is %q", name, i, got)
			}
		}
		if len(k.plain) != len(layers) || k.aborted > 0 {
			t.Errorf("%s: %d layers were taken, %d aborted", name, len(k.plain), k.aborted)
		}
		joined, err := io.ReadAll(joinOf(info, k, "repo:tag"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := archive.Check(bytes.NewReader(joined), info.ConfigDigest)
		if err != nil || !slices.Equal(again.DiffIDs, info.DiffIDs) {
			t.Errorf("%s: joined it is %+v, %v", name, again, err)
		}
		if !strings.Contains(string(contents(t, joined)["manifest.json"]), `"RepoTags":["repo:tag"]`) {
			t.Errorf("%s: it is not named: %s", name, contents(t, joined)["manifest.json"])
		}
	}
}

func joinOf(info *archive.Info, k *taken, reference string) io.ReadCloser {
	p := archive.Parts{ConfigDigest: info.ConfigDigest, Config: info.Config, Reference: reference}
	for _, d := range info.DiffIDs {
		p.Layers = append(p.Layers, archive.Part{DiffID: d, Size: int64(len(k.plain[d])), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(k.plain[d])), nil
		}})
	}
	return archive.Join(p)
}

// Wherever it is cut short, no image comes out.
func TestSplitFindsEveryTruncation(t *testing.T) {
	for name, shape := range shapes {
		a := shape()
		raw := a.bytes(t)
		for n := 0; n < len(raw)-1; n += 31 { // Check is held to every byte
			if _, _, err := split(bytes.NewReader(raw[:n]), a.imageID); !errors.Is(err, archive.ErrCorrupt) {
				t.Fatalf("%s, %d of %d bytes: the error is %v", name, n, len(raw), err)
			}
		}
	}
}

// A layer that unpacks to something else than the configuration says is found, which
// Check leaves to the digests.
func TestSplitProvesDiffIDs(t *testing.T) {
	a := &image{}
	config := a.blob(imageConfig(layers...))
	names := []string{"blobs/sha256/" + a.blob(gzipped(layers[0])), "blobs/sha256/" + a.blob(gzipped([]byte("another layer")))}
	a.describe(config, names)
	a.imageID = "sha256:" + config
	if _, _, err := split(bytes.NewReader(a.bytes(t)), a.imageID); !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), "unpacks to") {
		t.Errorf("the error is %v", err)
	}
	b := &image{}
	config = b.blob(imageConfig(layers...))
	b.describe(config, []string{"blobs/sha256/" + b.blob(gzipped(layers[0])[:20]), "blobs/sha256/" + b.blob(layers[1])})
	if _, _, err := split(bytes.NewReader(b.bytes(t)), "sha256:"+config); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("a layer that is cut short: the error is %v", err)
	}
}

// The errors of who takes layers, and of the reader, are passed on as they are.
func TestSplitPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken by plan")
	for name, shape := range shapes {
		a := shape()
		raw := a.bytes(t)
		k := &taken{plain: map[string][]byte{}, fail: broken}
		if _, err := archive.Split(bytes.NewReader(raw), a.imageID, k); !errors.Is(err, broken) || errors.Is(err, archive.ErrCorrupt) {
			t.Errorf("%s: the error is %v", name, err)
		}
		for n := 0; n < len(raw); n += 31 {
			r := io.MultiReader(bytes.NewReader(raw[:n]), failingReader{broken})
			if _, _, err := split(r, a.imageID); !errors.Is(err, broken) || errors.Is(err, archive.ErrCorrupt) {
				t.Fatalf("%s, after %d bytes: the error is %v", name, n, err)
			}
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// Who joins is told that a layer is not what was said of it.
func TestJoinFails(t *testing.T) {
	broken := errors.New("broken by plan")
	cases := map[string]struct {
		open func() (io.ReadCloser, error)
		want error
	}{
		"no layer":    {func() (io.ReadCloser, error) { return nil, broken }, broken},
		"it breaks":   {func() (io.ReadCloser, error) { return io.NopCloser(failingReader{broken}), nil }, broken},
		"too short":   {func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("1234")), nil }, archive.ErrCorrupt},
		"a byte more": {func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("123456")), nil }, nil},
	}
	for name, c := range cases {
		r := archive.Join(archive.Parts{ConfigDigest: "sha256:00", Config: []byte("{}"), Layers: []archive.Part{{DiffID: "sha256:11", Size: 5, Open: c.open}}})
		_, err := io.Copy(io.Discard, r)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, shape := range shapes {
		a := shape()
		f.Add(a.bytes(f), a.imageID)
	}
	f.Fuzz(func(t *testing.T, raw []byte, imageID string) {
		info, k, err := split(bytes.NewReader(raw), imageID)
		if _, cerr := archive.Check(bytes.NewReader(raw), imageID); err == nil && cerr != nil {
			t.Fatalf("it is split, and Check says %v", cerr)
		}
		if err != nil {
			return
		}
		for _, d := range info.DiffIDs {
			if l, ok := k.plain[d]; !ok || "sha256:"+sha256Hex(l) != d {
				t.Errorf("layer %s is not there, or another one", d)
			}
		}
	})
}
