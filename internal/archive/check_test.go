package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast.io/holdfast/internal/archive"
)

func TestCheckTakesEveryShapeThatEnginesWrite(t *testing.T) {
	for name, build := range shapes {
		t.Run(name, func(t *testing.T) {
			a := build()
			info, err := archive.Check(iotest.OneByteReader(bytes.NewReader(a.bytes(t))), a.imageID)
			if err != nil {
				t.Fatal(err)
			}
			if len(info.DiffIDs) < len(layers) || !strings.HasPrefix(info.ConfigDigest, "sha256:") {
				t.Errorf("got %+v", info)
			}
		})
	}
}

// The daemon has been seen to end a stream early without an error (moby#45764).
func TestCheckFindsEveryTruncation(t *testing.T) {
	for name, build := range shapes {
		t.Run(name, func(t *testing.T) {
			a := build()
			whole := a.bytes(t)
			for n := 0; n < len(whole); n += 64 {
				_, err := archive.Check(bytes.NewReader(whole[:n]), a.imageID)
				if !errors.Is(err, archive.ErrCorrupt) {
					t.Fatalf("cut after %d of %d bytes: got %v", n, len(whole), err)
				}
			}
		})
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	config := sha256Hex(imageConfig(layers...))
	first := "blobs/sha256/" + sha256Hex(layers[0])
	tests := map[string]struct {
		of      func() *image
		change  func(a *image)
		message string
	}{
		"a blob that is not what its name says": {ociArchive,
			func(a *image) { a.replace(first, []byte("other bytes")) }, "has the digest " + sha256Hex([]byte("other bytes"))},
		"a layer that is missing": {ociArchive,
			func(a *image) { a.remove(first) }, "the layer " + first + " is missing"},
		"a layer that the configuration does not have": {classicArchive,
			func(a *image) { a.replace("two/layer.tar", []byte("other bytes")) }, "the layer two/layer.tar has the digest"},
		"a link that leads nowhere": {classicArchive,
			func(a *image) { a.remove("one/layer.tar"); a.link("one/layer.tar", "../three/layer.tar") }, "layer.tar is missing"},
		"no manifest": {ociArchive,
			func(a *image) { a.remove("manifest.json") }, "manifest.json is missing"},
		"a manifest that is not JSON": {ociArchive,
			func(a *image) { a.replace("manifest.json", []byte("[{")) }, "manifest.json is not a JSON document"},
		"a manifest of another form": {ociArchive,
			func(a *image) { a.replace("manifest.json", []byte(`{"Config":1}`)) }, "manifest.json cannot be read"},
		"two images": {ociArchive,
			func(a *image) { a.replace("manifest.json", []byte(`[{},{}]`)) }, "it holds 2 images instead of one"},
		"no configuration": {ociArchive,
			func(a *image) { a.remove("blobs/sha256/" + config) }, config + " is missing"},
		"fewer layers than the configuration has": {ociArchive,
			func(a *image) { a.replace("manifest.json", manifest("blobs/sha256/"+config, first)) },
			"it lists 1 layers, but its configuration has 2"},
		"another image": {ociArchive,
			func(a *image) { a.imageID = "sha256:" + strings.Repeat("0", 64) }, "not the image sha256:0000"},
		"an image whose manifest is missing": {containerdArchive,
			func(a *image) { a.remove("blobs/sha256/" + strings.TrimPrefix(a.imageID, "sha256:")) }, "not the image"},
		"an entry that occurs twice": {ociArchive,
			func(a *image) { a.file("oci-layout", nil) }, "it has oci-layout twice"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := test.of()
			test.change(a)
			_, err := archive.Check(bytes.NewReader(a.bytes(t)), a.imageID)
			if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want %q", err, test.message)
			}
		})
	}
}

func TestCheckTellsAReaderThatFailsFromACorruptArchive(t *testing.T) {
	a := ociArchive()
	whole := a.bytes(t)
	lost := errors.New("connection lost")
	for _, n := range []int{0, 700, len(whole) / 2, len(whole)} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(lost))
		_, err := archive.Check(r, a.imageID)
		if !errors.Is(err, lost) || errors.Is(err, archive.ErrCorrupt) {
			t.Errorf("after %d bytes: got %v", n, err)
		}
	}
}

// A sparse entry claims any size in a few bytes, and reads as so many zeros: to
// hash these here would take an hour.
func TestCheckRefusesSparseEntriesUnread(t *testing.T) {
	_, err := archive.Check(bytes.NewReader(sparseArchive()), ociArchive().imageID)
	if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("got %v", err)
	}
}

// sparseArchive has one entry in the PAX sparse format 1.0 that holds no data
// and claims a size of 1 TiB. Go's tar writer makes no such entries.
func sparseArchive() []byte {
	var records string
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=sparse", "GNU.sparse.realsize=1099511627776"} {
		records += fmt.Sprintf("%d %s\n", len(r)+len("00 \n"), r)
	}
	holes := "1\n1099511627776\n0\n" // one piece of data: none, at the end
	return slices.Concat(
		rawHeader(tar.TypeXHeader, len(records)), pad([]byte(records)),
		rawHeader(tar.TypeReg, 512), pad([]byte(holes)),
		make([]byte, 1024))
}

func rawHeader(typeflag byte, size int) []byte {
	h := make([]byte, 512)
	copy(h, "sparse")
	copy(h[124:], fmt.Sprintf("%011o", size))
	copy(h[148:], "        ") // the checksum counts as spaces
	h[156] = typeflag
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// pad fills up to a whole block.
func pad(b []byte) []byte {
	blocks := (len(b) + 511) / 512
	return append(b, make([]byte, blocks*512-len(b))...)
}

// A file that ends in zeros is not the end of the archive, and what follows the
// end mark must be zeros: an Engine appends its error there.
func TestCheckNeedsItsEndMark(t *testing.T) {
	a := classicArchive()
	a.file("zeros", make([]byte, 4096))
	whole := a.bytes(t)
	check := func(raw []byte) error {
		_, err := archive.Check(bytes.NewReader(raw), a.imageID)
		return err
	}
	if err := check(whole); err != nil {
		t.Error(err)
	}
	if err := check(slices.Concat(whole, make([]byte, 9<<10))); err != nil {
		t.Errorf("with more zeros than the end mark: %v", err)
	}
	for _, left := range []int{0, 511, 512, 1023} {
		if err := check(whole[:len(whole)-1024+left]); !errors.Is(err, archive.ErrCorrupt) {
			t.Errorf("with %d of the 1024 bytes of the end mark: got %v", left, err)
		}
	}
	if err := check(slices.Concat(whole, []byte(`{"errorDetail":{"message":"no space left on device"}}`))); !errors.Is(err,
		archive.ErrCorrupt) {
		t.Errorf("with an error after the end mark: got %v", err)
	}
}

// Every bit of a layer and of a configuration counts.
func TestCheckFindsEveryChange(t *testing.T) {
	for name, build := range shapes {
		t.Run(name, func(t *testing.T) {
			a := build()
			for i, h := range a.entries {
				if body := a.bodies[i]; strings.HasSuffix(h.Name, "layer.tar") || strings.HasPrefix(h.Name, "blobs/") {
					for at := range body {
						body = bytes.Clone(a.bodies[i])
						body[at] ^= 1
						changed := *a
						changed.bodies = slices.Clone(a.bodies)
						changed.bodies[i] = body
						if _, err := archive.Check(bytes.NewReader(changed.bytes(t)), a.imageID); !errors.Is(err, archive.ErrCorrupt) {
							t.Fatalf("byte %d of %s is another: got %v", at, h.Name, err)
						}
					}
				}
			}
		})
	}
}

// An archive that would fill the memory with what describes it is refused.
func TestCheckIsBounded(t *testing.T) {
	many := &image{}
	for i := range 10_001 {
		many.file(fmt.Sprint(i), nil)
	}
	big := classicArchive()
	big.replace("manifest.json", append(bytes.Repeat([]byte(" "), 5<<20), "[]"...))
	for want, a := range map[error]*image{archive.ErrCorrupt: many, archive.ErrTooLarge: big} {
		if _, err := archive.Check(bytes.NewReader(a.bytes(t)), "sha256:"); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}
