package point

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/sink"
)

const (
	maxNameBytes  = 120 // an encoded name over this is shortened
	keptNameBytes = 100
	nameHashHex   = 16
)

// Dir returns the folder of a point in a sink.
func Dir(host string, kind events.ItemKind, name, id string) string {
	return sink.PointDir(EncodeName(host), string(kind), EncodeName(name), id)
}

// EncodeName makes a name into one safe element of a path. Bytes other than
// ASCII letters, digits, '.', '_' and '-' are percent-encoded, and so is a
// leading dot. An encoded name over 120 bytes is its first 100, '~', and 16 hex
// digits of the hash of the whole name; '~' itself is always encoded, so the two
// forms cannot be mistaken for each other. An empty name is "%".
func EncodeName(name string) string {
	if name == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if isSafe(c) && (c != '.' || i > 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	encoded := b.String()
	if len(encoded) <= maxNameBytes {
		return encoded
	}
	sum := sha256.Sum256([]byte(name))
	return encoded[:keptNameBytes] + "~" + hex.EncodeToString(sum[:])[:nameHashHex]
}

// VolumeArchive is the name of the artifact that holds the content of the volume or
// bind mount with this name.
func VolumeArchive(name string) string { return "volumes/" + EncodeName(name) + ".tar.zst" }

// VolumePieces is the name of the artifact that says of which pieces that content consists,
// where it is stored so.
func VolumePieces(name string) string { return "volumes/" + EncodeName(name) + ".pieces.zst" }

// ArtifactName is the name that an artifact was stored by, whatever the sink made of it:
// volumes/data.tar.zst, with what encryption adds to it. One of a media type that this
// program does not know has the last element of its key.
func ArtifactName(a events.Artifact) string {
	name := ""
	switch a.MediaType {
	case MediaTypeImageArchive:
		name = ImageArchive
	case MediaTypeContainerConfig:
		name = ContainerConfig
	case MediaTypeContainerContext:
		name = ContainerContext
	case MediaTypeVolume:
		name = VolumeArchive(a.Name)
	case MediaTypePieces:
		name = VolumePieces(a.Name)
	case MediaTypeVolumeConfig:
		name = VolumeConfig
	default:
		return path.Base(a.Key)
	}
	if a.Encryption != "" {
		name += path.Ext(a.Key)
	}
	return name
}

func isSafe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-'
}
