package sink

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ManifestName is the name of the object that makes a point exist.
const ManifestName = "manifest.json"

// Names of the marks that may lie beside the manifest of a point. They are no part
// of it: they come and go, and the point is the same without them.
const (
	VerifiedName  = "verified.json"
	ProtectedName = "protected.json"
	RemovedName   = "removed.json"
)

// MarkNames are the names of all marks, sorted.
var MarkNames = [...]string{ProtectedName, RemovedName, VerifiedName}

// PointsName is the folder of a sink that holds the points.
const PointsName = "points"

// The folders of what points share: blobs, each under the hex digits of its digest; what
// says in which blob a layer is; and what says that a blob is to be removed.
const (
	BlobsName   = "blobs/sha256"
	LayersName  = "layers"
	GarbageName = "garbage"
)

// SharedNames are all of them, sorted.
var SharedNames = [...]string{BlobsName, GarbageName, LayersName}

// BlobKey returns the key of the blob with this digest, "sha256:<hex>".
func BlobKey(digest string) string {
	return path.Join(BlobsName, strings.TrimPrefix(digest, "sha256:"))
}

// pointLevels is how many levels below PointsName a point lies: host, kind, name
// and id.
const pointLevels = 4

// PointDir returns the folder of a point. Each argument is one element of a key.
func PointDir(host, kind, name, id string) string {
	return path.Join(PointsName, host, kind, name, id)
}

// LevelsBelow returns how many levels below dir the points lie, which is 0 for the
// folder of a point. It refuses a dir that is not PointsName or lies elsewhere.
func LevelsBelow(dir string) (int, error) {
	if err := CheckKey(dir); err != nil {
		return 0, err
	}
	levels := strings.Count(dir, "/")
	if dir != PointsName && !strings.HasPrefix(dir, PointsName+"/") || levels > pointLevels {
		return 0, fmt.Errorf("%q is no folder of points: that is %s, or %s/<host>/<kind>/<name>/<point id>, or one between", dir,
			PointsName, PointsName)
	}
	return pointLevels - levels, nil
}

// maxElement is how many bytes one element of a path has at most on every common
// file system.
const maxElement = 255

// CheckKey refuses keys that are not in the form that [Sink] asks for.
func CheckKey(key string) error {
	if key == "." || !fs.ValidPath(key) || strings.ContainsAny(key, "\x00\\") {
		return fmt.Errorf("%q is not a key: it must be a relative slash-separated path without empty, \".\" or \"..\" elements, "+
			"backslash or NUL", key)
	}
	for element := range strings.SplitSeq(key, "/") {
		if len(element) > maxElement {
			return fmt.Errorf("%q is not a key: an element is longer than %d bytes", key, maxElement)
		}
	}
	return nil
}

// CheckPoint refuses what is not points/<host>/<kind>/<name>/<point id>.
func CheckPoint(dir string) error {
	levels, err := LevelsBelow(dir)
	if err == nil && levels != 0 {
		err = fmt.Errorf("%q is not the folder of a point: that is %s/<host>/<kind>/<name>/<point id>", dir, PointsName)
	}
	return err
}

// CheckRemovable refuses keys that [Remover.Remove] does not take.
func CheckRemovable(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	elements := strings.SplitN(key, "/", pointLevels+2)
	if elements[0] != PointsName || len(elements) != pointLevels+2 {
		return fmt.Errorf("%q is not removed: it is not in the folder of a point", key)
	}
	if elements[pointLevels+1] == ManifestName {
		return fmt.Errorf("%q is not removed: it makes its point exist, and goes with that", key)
	}
	return nil
}

// CheckArtifact refuses what cannot be the name of an artifact.
func CheckArtifact(name string) error {
	if err := CheckKey(name); err != nil {
		return err
	}
	if name == ManifestName {
		return fmt.Errorf("%s is not the name of an artifact: it makes the point exist", name)
	}
	if slices.Contains(MarkNames[:], name) {
		return fmt.Errorf("%s is not the name of an artifact: it is that of a mark", name)
	}
	return nil
}

// CheckMark refuses what is not in MarkNames.
func CheckMark(name string) error {
	if !slices.Contains(MarkNames[:], name) {
		return fmt.Errorf("%q is not the name of a mark: these are %s", name, strings.Join(MarkNames[:], ", "))
	}
	return nil
}

// CheckShared refuses what is not <folder>/<name>, with one of SharedNames.
func CheckShared(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return CheckSharedFolder(path.Dir(key))
}

// CheckSharedFolder refuses what is not in SharedNames.
func CheckSharedFolder(folder string) error {
	if !slices.Contains(SharedNames[:], folder) {
		return fmt.Errorf("%q is no folder of what points share: these are %s", folder, strings.Join(SharedNames[:], ", "))
	}
	return nil
}

// CheckPutShared refuses keys that [Sharer.PutShared] does not take.
func CheckPutShared(key string) error {
	if err := CheckShared(key); err != nil {
		return err
	}
	if path.Dir(key) == BlobsName {
		return fmt.Errorf("%q is the key of a blob, which is written by CreateBlob", key)
	}
	return nil
}

// CheckDigest refuses what is not "sha256:<64 hex digits>".
func CheckDigest(digest string) error {
	hexDigits, ok := strings.CutPrefix(digest, "sha256:")
	if raw, err := hex.DecodeString(hexDigits); !ok || err != nil || len(raw) != sha256.Size || strings.ToLower(hexDigits) != hexDigits {
		return fmt.Errorf("%q is not a digest: that is sha256: and 64 hex digits", digest)
	}
	return nil
}

// CheckRange refuses what cannot be a range of an object.
func CheckRange(offset, length int64) error {
	if offset < 0 || length < 0 {
		return fmt.Errorf("%d bytes from %d on is not a range", length, offset)
	}
	return nil
}

// AttemptName returns the name of an attempt at the point at dir, which is one
// element of a key, and refuses what cannot be one.
func AttemptName(dir, attempt string) (string, error) {
	if err := CheckPoint(dir); err != nil {
		return "", err
	}
	name := path.Base(dir) + "-" + attempt
	if err := CheckKey(name); err != nil || attempt == "" || strings.Contains(attempt, "/") {
		return "", fmt.Errorf("%q is not the name of an attempt: with the point's id it must be one element of a key", attempt)
	}
	return name, nil
}
