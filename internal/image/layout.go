package image

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
)

// The files that make the folder of a point an image layout.
const (
	layoutName      = v1.ImageLayoutFile
	layoutIndexName = v1.ImageIndexFile
)

var ociLayout = []byte(`{"imageLayoutVersion":"` + v1.ImageLayoutVersion + `"}` + "\n")

func descriptor(a events.Artifact) v1.Descriptor {
	return v1.Descriptor{MediaType: a.MediaType, Digest: digest.Digest(a.Digest), Size: a.Size}
}

// ociManifest returns the manifest of an image of these layers, the lowest first.
func ociManifest(config events.Artifact, layers []events.Artifact) ([]byte, error) {
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: descriptor(config),
		Layers: []v1.Descriptor{}}
	for _, l := range layers {
		m.Layers = append(m.Layers, descriptor(l))
	}
	return json.Marshal(m)
}

// ociIndex returns the index that names one manifest.
func ociIndex(manifest events.Artifact) ([]byte, error) {
	return json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{descriptor(manifest)}})
}
