package verify

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/volume"
)

// errContent is wrapped by the error of content that was stored as it is, and is not
// what it should be.
var errContent = errors.New("it does not hold what it should")

// content is what an artifact of one media type must hold.
type content struct {
	// compressed is set if it is stored as a stream of zstd, and layer for a layer as an Engine
	// has pushed it.
	compressed, layer bool
	// check reads the plain content to its end, and returns how many layers of an image
	// it has proven. An error is the content's fault, or comes from r.
	check func(r io.Reader, m *proof, a *events.Artifact) (layers int, err error)
}

// proof is what is known of the point, and of what was read of it so far.
type proof struct {
	*point.Manifest
	// layers are the digests of the plain bytes of encrypted layers, by their keys. The image's
	// configuration, which comes after them, says what they should be.
	layers map[string]string
}

// contents are the media types that this program knows. Of another one only the digest
// is proven.
var contents = map[string]content{
	point.MediaTypeImageArchive:     {compressed: true, check: checkImage},
	point.MediaTypeLayer:            {compressed: true, check: checkLayer},
	point.MediaTypeLayerGzip:        {layer: true, check: checkLayer},
	point.MediaTypeLayerPlain:       {layer: true, check: checkLayer},
	point.MediaTypeImageConfig:      {check: checkImageConfig},
	point.MediaTypeImageManifest:    {check: checkDocument},
	point.MediaTypeImageIndex:       {check: checkDocument},
	point.MediaTypeImageLayout:      {check: checkDocument},
	point.MediaTypeContainerConfig:  {check: checkConfig},
	point.MediaTypeContainerContext: {check: checkContext},
	point.MediaTypeVolume:           {compressed: true, check: checkVolume},
	point.MediaTypePack:             {compressed: true, check: checkPack},
	point.MediaTypePieces:           {}, // see readPieces
	point.MediaTypeVolumeConfig:     {check: checkVolumeConfig},
}

// contentOf returns what an artifact must hold, and whether that is known.
func contentOf(a *events.Artifact) (c content, known bool) {
	if c, known = contents[a.MediaType]; !known {
		c.check = func(r io.Reader, _ *proof, _ *events.Artifact) (int, error) {
			_, err := io.Copy(io.Discard, r)
			return 0, err
		}
	}
	return c, known
}

// checkImage proves an image archive as it was proven when it was stored, and that it
// is of the image that the manifest names.
func checkImage(r io.Reader, m *proof, _ *events.Artifact) (int, error) {
	if m.Image == nil {
		return 0, fmt.Errorf("%w: the manifest does not say which image it is of", errContent)
	}
	info, err := archive.Check(r, m.Image.ID)
	switch {
	case err != nil:
		return 0, err
	case info.ConfigDigest != m.Image.ConfigDigest:
		return 0, fmt.Errorf("%w: the image's configuration is %s, and the manifest says %s", errContent, info.ConfigDigest, m.Image.ConfigDigest)
	case len(info.DiffIDs) != m.Image.Layers:
		return 0, fmt.Errorf("%w: the image has %d layers, and the manifest says %d", errContent, len(info.DiffIDs), m.Image.Layers)
	}
	return len(info.DiffIDs), nil
}

// checkLayer proves that a layer unpacks to what its diff id says.
func checkLayer(r io.Reader, m *proof, a *events.Artifact) (int, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return 0, err
	}
	switch got := codec.Digest(sum); {
	case a.Encryption != "":
		m.layers[a.Key] = got
	case got != a.Name:
		return 0, fmt.Errorf("%w: its plain digest is %s, and the manifest says %s", errContent, got, a.Name)
	}
	return 1, nil
}

// checkPack proves that a pack unpacks to what its name says.
func checkPack(r io.Reader, m *proof, a *events.Artifact) (int, error) {
	_, err := checkLayer(r, m, a)
	return 0, err
}

// checkImageConfig proves that an image's configuration is that of the manifest's image,
// and that the point has every layer that it names.
func checkImageConfig(r io.Reader, m *proof, _ *events.Artifact) (int, error) {
	raw, err := readDocument(r)
	if err != nil {
		return 0, err
	}
	got := digest.FromBytes(raw).String()
	diffIDs, err := image.DiffIDs(raw)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errContent, err)
	case m.Image == nil:
		return 0, fmt.Errorf("%w: the manifest does not say which image it is of", errContent)
	case got != m.Image.ConfigDigest:
		return 0, fmt.Errorf("%w: the image's configuration is %s, and the manifest says %s", errContent, got, m.Image.ConfigDigest)
	case len(diffIDs) != m.Image.Layers:
		return 0, fmt.Errorf("%w: the image has %d layers, and the manifest says %d", errContent, len(diffIDs), m.Image.Layers)
	}
	layers, err := image.Assign(m.Manifest, diffIDs)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errContent, err)
	}
	for d, layer := range layers {
		if got, read := m.layers[layer.Key]; read && got != d {
			return 0, fmt.Errorf("%w: %s is the layer %s, and the image's configuration says %s", errContent, layer.Key, got, d)
		}
	}
	return 0, nil
}

// checkDocument proves that a document is JSON.
func checkDocument(r io.Reader, _ *proof, _ *events.Artifact) (int, error) {
	var document map[string]json.RawMessage
	return 0, readJSON(r, &document)
}

// checkVolume proves that an archive of a volume can be unpacked.
func checkVolume(r io.Reader, _ *proof, _ *events.Artifact) (int, error) {
	_, err := volume.Check(r)
	return 0, err
}

// maxDocument bounds a document that is taken into memory, in bytes.
const maxDocument = 64 << 20

// readDocument reads a document to its end.
func readDocument(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("%w: it has more than %d bytes", errContent, maxDocument)
	}
	return raw, err
}

// readJSON reads a JSON document to its end.
func readJSON(r io.Reader, into any) error {
	raw, err := readDocument(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %w", errContent, err)
	}
	return nil
}

// checkContext proves that what a container's configuration names can be read. A context
// of a later format is proven by its digest.
func checkContext(r io.Reader, _ *proof, _ *events.Artifact) (int, error) {
	raw, err := readDocument(r)
	if err != nil {
		return 0, err
	}
	if _, err := recreate.DecodeContext(raw); err != nil && !errors.Is(err, recreate.ErrNewer) {
		return 0, fmt.Errorf("%w: %w", errContent, err)
	}
	return 0, nil
}

// checkVolumeConfig proves that a volume's inspect document is one, and that of the
// manifest's volume.
func checkVolumeConfig(r io.Reader, m *proof, _ *events.Artifact) (int, error) {
	var doc struct{ Name string }
	if err := readJSON(r, &doc); err != nil {
		return 0, err
	}
	if doc.Name != m.Item.Name {
		return 0, fmt.Errorf("%w: it is the configuration of volume %q, and the point is of %q", errContent, doc.Name, m.Item.Name)
	}
	return 0, nil
}

// checkConfig proves that a container's inspect document is one, and that of the
// manifest's container.
func checkConfig(r io.Reader, m *proof, _ *events.Artifact) (int, error) {
	var doc struct {
		ID, Name string
		Config   *json.RawMessage
	}
	if err := readJSON(r, &doc); err != nil {
		return 0, err
	}
	switch {
	case doc.ID != m.Item.ID:
		return 0, fmt.Errorf("%w: it is the configuration of container %q (%s), and the point is of %s", errContent,
			strings.TrimPrefix(doc.Name, "/"), doc.ID, m.Item.ID)
	case doc.Config == nil:
		return 0, fmt.Errorf("%w: it is no inspect document of a container: it has no Config", errContent)
	}
	return 0, nil
}
