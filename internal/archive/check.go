// Package archive reads image archives, which are what docker save writes: it
// proves that one is whole and true. It knows three shapes: the classic one
// (manifest.json, <config>.json and <layer>/layer.tar), the classic store's OCI
// layout since Engine 25, and the containerd store's, whose layers may be
// compressed. It is pure io: it knows no Engine and no sink.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// ErrCorrupt is wrapped by every error that says that an archive is truncated,
// holds something else than it should, or contradicts its own digests.
var ErrCorrupt = errors.New("the image archive is corrupt")

// ErrTooLarge: the image's description is larger than what Check takes into memory.
// The archive may well be whole.
var ErrTooLarge = errors.New("the image's configuration is too large")

// CheckConfigSize reports ErrTooLarge if an image cannot pass [Check] whose
// environment and labels have so many bytes. The rest of its configuration comes on
// top of them.
func CheckConfigSize(size int64) error {
	if size > maxDocument {
		return fmt.Errorf("%w: environment and labels have %d bytes, and at most %d are checked; make them smaller", ErrTooLarge,
			size, maxDocument)
	}
	return nil
}

// Bounds of what is kept in memory of an archive: the documents that describe
// it. Layers are only hashed.
const (
	maxDocument  = 4 << 20
	maxDocuments = 16 << 20
	maxEntries   = 10_000
	copyBuffer   = 256 << 10
	digestPrefix = "sha256:"
	blobPrefix   = "blobs/sha256/"
)

// Info is what an archive says of itself.
type Info struct {
	// ConfigDigest is the digest of the image's configuration, "sha256:<hex>".
	ConfigDigest string
	// Config is the image's configuration, as its digest is of.
	Config []byte
	// DiffIDs are the digests of its layers' plain bytes, "sha256:<hex>", the lowest first.
	DiffIDs []string
}

// Check reads r, an uncompressed image archive, to its end. It returns no error
// only if the archive holds the whole of the image imageID ("sha256:<hex>") and
// nothing else, and every digest in it is true. It holds a few megabytes, however
// large the archive. An error that wraps [ErrCorrupt] is the archive's fault, and one
// that wraps [ErrTooLarge] that of the image's labels and environment; every other
// error comes from r.
//
// A save that was cut short has been seen to end without an error (moby#45764).
func Check(r io.Reader, imageID string) (*Info, error) { return check(r, imageID, nil) }

// check is Check, and with layers Split.
func check(r io.Reader, imageID string, layers Layers) (*Info, error) {
	tail := &tailReader{r: r}
	c := checker{
		layers:    layers,
		digests:   map[string]string{},
		diffIDs:   map[string]string{},
		sizes:     map[string]int64{},
		links:     map[string]string{},
		documents: map[string][]byte{},
	}
	if err := c.readAll(tail); err != nil {
		return nil, err
	}
	// Padding may follow the end mark; the reader above stops there.
	if _, err := io.Copy(io.Discard, tail); err != nil {
		return nil, fmt.Errorf("read the end of the image archive: %w", err)
	}
	if tail.zeros < 1024 {
		return nil, corrupt("its end mark is missing: it was cut short")
	}
	return c.verify(imageID)
}

type checker struct {
	layers    Layers            // takes the layers; nil if they are only proven
	digests   map[string]string // of every file, by name; hex
	diffIDs   map[string]string // of every layer that was taken, by name; "sha256:<hex>"
	sizes     map[string]int64  // of every file that may describe the image, by name
	links     map[string]string // target by name
	documents map[string][]byte // small files that may describe the image
	kept      int
}

func (c *checker) readAll(tail *tailReader) error {
	tr := tar.NewReader(tail)
	buf := make([]byte, copyBuffer)
	for entries := 0; ; entries++ {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return corrupt("it is not a whole tar archive (%v)", err)
		case err != nil:
			return fmt.Errorf("read the image archive: %w", err)
		case entries >= maxEntries:
			return corrupt("it has more than %d entries", maxEntries)
		case isSparse(h):
			return corrupt("%s is a sparse file", h.Name)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeSymlink:
			c.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			c.links[name] = path.Clean(h.Linkname)
		case tar.TypeReg:
			if err := c.readFile(tr, name, h.Size, buf); err != nil {
				return err
			}
		}
		tail.zeros = 0 // the end mark is what follows the last entry, not the end of a file
	}
}

func (c *checker) readFile(r io.Reader, name string, size int64, buf []byte) error {
	sum := sha256.New()
	var w io.Writer = sum
	var doc *bytes.Buffer
	if mayDescribe(name) {
		c.sizes[name] = size
	}
	if mayDescribe(name) && size <= maxDocument && c.kept+int(size) <= maxDocuments {
		doc = &bytes.Buffer{}
		w = io.MultiWriter(sum, doc)
	}
	var err error
	if head := bufio.NewReaderSize(r, sniffed); c.layers != nil && isLayer(name, head) {
		err = c.take(name, size, io.TeeReader(head, sum), sum, buf)
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{head}, buf)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("it was cut short in %s", name)
	}
	if err != nil {
		return fmt.Errorf("read %s of the image archive: %w", name, err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if hexName, ok := strings.CutPrefix(name, blobPrefix); ok && hexName != digest {
		return corrupt("blob %s has the digest %s", hexName, digest)
	}
	if _, again := c.digests[name]; again {
		return corrupt("it has %s twice", name)
	}
	c.digests[name] = digest
	if doc != nil && json.Valid(doc.Bytes()) {
		c.documents[name] = doc.Bytes()
		c.kept += doc.Len()
	}
	return nil
}

// isSparse reports whether an entry claims holes. No Engine writes such entries,
// and a few bytes of them read as any number of zeros.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// mayDescribe reports whether an entry can be one of the documents that
// describe the image. In an OCI layout they lie among the layers.
func mayDescribe(name string) bool {
	return strings.HasPrefix(name, blobPrefix) || !strings.Contains(name, "/") && strings.HasSuffix(name, ".json")
}

// verify holds what was read against the archive's own description.
func (c *checker) verify(imageID string) (*Info, error) {
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := c.document("manifest.json", &manifest); err != nil {
		return nil, err
	}
	if len(manifest) != 1 {
		return nil, corrupt("it holds %d images instead of one", len(manifest))
	}
	m := manifest[0]

	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := c.document(m.Config, &config); err != nil {
		return nil, err
	}
	configDigest := c.digests[path.Clean(m.Config)]
	if named, ok := strings.CutSuffix(m.Config, ".json"); ok && named != configDigest {
		return nil, corrupt("the configuration %s has the digest %s", m.Config, configDigest)
	}
	if err := c.verifyID(imageID, configDigest); err != nil {
		return nil, err
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) {
		return nil, corrupt("it lists %d layers, but its configuration has %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	for i, layer := range m.Layers {
		if err := c.verifyLayer(layer, config.RootFS.DiffIDs[i]); err != nil {
			return nil, err
		}
	}
	return &Info{ConfigDigest: digestPrefix + configDigest, Config: c.documents[path.Clean(m.Config)], DiffIDs: config.RootFS.DiffIDs}, nil
}

// verifyID reports whether the archive is that of imageID. A classic store
// names an image by its configuration, a containerd store by its manifest or
// index, which the archive's index.json names.
func (c *checker) verifyID(imageID, configDigest string) error {
	if imageID == digestPrefix+configDigest {
		return nil
	}
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	if _, ok := c.documents["index.json"]; ok {
		if err := c.document("index.json", &index); err != nil {
			return err
		}
	}
	var found []string
	for _, m := range index.Manifests {
		found = append(found, m.Digest)
		if hexName := strings.TrimPrefix(m.Digest, digestPrefix); m.Digest == imageID && c.digests[blobPrefix+hexName] == hexName {
			return nil
		}
	}
	return corrupt("it holds %s, not the image %s", strings.Join(append(found, digestPrefix+configDigest), ", "), imageID)
}

// verifyLayer checks one layer. A blob was held against its name when it was
// read, and may be compressed; any other file must be the raw layer.
func (c *checker) verifyLayer(name, diffID string) error {
	name = path.Clean(name)
	for range 8 { // links to links are possible, circles must end
		target, ok := c.links[name]
		if !ok {
			break
		}
		name = target
	}
	digest, ok := c.digests[name]
	if !ok {
		return corrupt("the layer %s is missing", name)
	}
	if digestPrefix+digest != diffID && !strings.HasPrefix(name, blobPrefix) {
		return corrupt("the layer %s has the digest sha256:%s instead of %s", name, digest, diffID)
	}
	if c.layers != nil && c.diffIDs[name] != diffID {
		return corrupt("the layer %s unpacks to %q instead of %s", name, c.diffIDs[name], diffID)
	}
	return nil
}

func (c *checker) document(name string, into any) error {
	name = path.Clean(name)
	raw, ok := c.documents[name]
	if !ok {
		if size := c.sizes[name]; size > maxDocument {
			return fmt.Errorf("%w: %s has %d bytes, and at most %d are checked; make labels and environment smaller", ErrTooLarge,
				name, size, maxDocument)
		}
		if _, there := c.digests[name]; there {
			return corrupt("%s is not a JSON document of at most %d bytes", name, maxDocument)
		}
		return corrupt("%s is missing", name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return corrupt("%s cannot be read: %v", name, err)
	}
	return nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// tailReader counts the zero bytes at the end of what was read since the count was
// last set to 0.
type tailReader struct {
	r     io.Reader
	zeros int64
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	trimmed := len(bytes.TrimRight(p[:n], "\x00"))
	if trimmed > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - trimmed)
	return n, err
}
