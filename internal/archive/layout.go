package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layout returns the archive of an image as an OCI image layout, of which a containerd
// store takes one without the blobs that it has: those of the layers that are left out.
// Its end is reported only when every other layer was read to its own. It must be closed,
// and when Close has returned, no layer is read any more.
func Layout(p Parts) io.ReadCloser {
	return piped(p.writeLayout)
}

func (p Parts) writeLayout(w io.Writer) error {
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.Digest(p.ConfigDigest), Size: int64(len(p.Config))},
		Layers: []v1.Descriptor{}}
	for _, l := range p.Layers {
		manifest.Layers = append(manifest.Layers, l.blob())
	}
	l := layout{tar.NewWriter(w)}
	top, err := l.document(v1.MediaTypeImageManifest, manifest)
	if err != nil {
		return err
	}
	if err := l.begin(top, p.Reference); err != nil {
		return err
	}
	if err := addFile(l.tar, blobName(p.ConfigDigest), int64(len(p.Config)), bytes.NewReader(p.Config)); err != nil {
		return err
	}
	written := map[string]bool{}
	for _, part := range p.Layers {
		if name := blobName(part.blob().Digest.String()); part.Open != nil && !written[name] {
			written[name] = true
			if err := part.write(l.tar, name); err != nil {
				return err
			}
		}
	}
	return l.tar.Close()
}

// blob is the layer as the manifest of a layout has it.
func (l Part) blob() v1.Descriptor {
	if l.Open == nil {
		return l.Kept
	}
	if l.Packed.Digest != "" {
		return l.Packed
	}
	return PlainBlob(l.DiffID, l.Size)
}

// PlainBlob describes a layer of so many bytes that is stored as it is.
func PlainBlob(diffID string, size int64) v1.Descriptor {
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.Digest(diffID), Size: size}
}

// Question returns a small archive that a containerd store loads under a reference, as an
// image with one manifest for each of these lists of blobs, and without any of the blobs.
// What the store says of a manifest, by its digest, is whether it has all blobs of the list.
// Of equal lists that follow each other one is asked for. No machine is of the platform of
// the manifests, so none is unpacked.
func Question(reference string, lists [][]v1.Descriptor) (raw []byte, manifests []string, err error) {
	var b bytes.Buffer
	l := layout{tar.NewWriter(&b)}
	nowhere := v1.Platform{OS: "none", Architecture: "none"}
	config, err := l.document(v1.MediaTypeImageConfig, v1.Image{Platform: nowhere,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}})
	if err != nil {
		return nil, nil, err
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for i, blobs := range lists {
		if i > 0 && slices.EqualFunc(blobs, lists[i-1], func(a, b v1.Descriptor) bool { return a.Digest == b.Digest }) {
			manifests = append(manifests, manifests[i-1])
			continue
		}
		manifest, err := l.document(v1.MediaTypeImageManifest, v1.Manifest{Versioned: index.Versioned,
			MediaType: v1.MediaTypeImageManifest, Config: config, Layers: blobs})
		if err != nil {
			return nil, nil, err
		}
		manifest.Platform = &nowhere
		index.Manifests = append(index.Manifests, manifest)
		manifests = append(manifests, manifest.Digest.String())
	}
	top, err := l.document(v1.MediaTypeImageIndex, index)
	if err != nil {
		return nil, nil, err
	}
	if err := l.begin(top, reference); err != nil {
		return nil, nil, err
	}
	return b.Bytes(), manifests, l.tar.Close()
}

// layout is an image layout that is written.
type layout struct{ tar *tar.Writer }

// begin writes what says which document is the image, and its name.
func (l layout) begin(top v1.Descriptor, reference string) error {
	if reference != "" {
		top.Annotations = map[string]string{nameAnnotation: qualified(reference)}
	}
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{top}})
	if err != nil {
		return err
	}
	if err := l.add(layoutIndex, index); err != nil {
		return err
	}
	version, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return l.add(v1.ImageLayoutFile, version)
}

// document writes a document as a blob, and describes it.
func (l layout) document(mediaType string, document any) (v1.Descriptor, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return d, l.add(blobName(d.Digest.String()), raw)
}

func (l layout) add(name string, raw []byte) error {
	return addFile(l.tar, name, int64(len(raw)), bytes.NewReader(raw))
}

func blobName(digest string) string { return blobPrefix + strings.TrimPrefix(digest, digestPrefix) }
