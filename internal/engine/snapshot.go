package engine

import (
	"regexp"
	"strings"
)

// DrillRepository is the repository of the images that drills load. They never outlive
// their drill, and no request selects them.
const DrillRepository = "holdfast/drill"

// DrillReference is the name of the image that the drill with this id loads:
// repository:tag.
func DrillReference(id string) string { return DrillRepository + ":" + id }

// SnapshotRepository is the repository of the temporary images that commits
// make. They never outlive their item, and no request selects them.
const SnapshotRepository = "holdfast/snapshot"

// SnapshotReference is the name of the snapshot that the attempt with this id
// makes: repository:tag.
func SnapshotReference(id string) string { return SnapshotRepository + ":" + id }

// PushNamespace is the part before the last of the names that snapshots have which are
// to be pushed to a registry of ours on loopback:
// 127.0.0.1:<port>/<namespace>/<32 hex digits>:<tag>.
const PushNamespace = "holdfast"

// direct is how the names of snapshots end that the Engine is to push to the registry of a sink: in
// the tag of an attempt, see sink.Repository.
var direct = regexp.MustCompile(`^[^@]+/[^@]+:holdfast-snapshot-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}-[0-9]+$`)

var pushed = regexp.MustCompile(`^127\.0\.0\.1:[0-9]+/` + PushNamespace + `/[0-9a-f]{32}[:@]`)

// SnapshotComment is the comment that a snapshot is committed with. It finds the
// snapshot when it has lost its reference.
func SnapshotComment(reference string) string { return "holdfast snapshot " + reference }

// IsTemporary reports whether a reference or a digest (repository@sha256:…) is that
// of a temporary image: a snapshot, or what a drill loads.
func IsTemporary(name string) bool {
	for _, repository := range []string{SnapshotRepository, DrillRepository} {
		rest, ok := strings.CutPrefix(name, repository)
		if ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@")) {
			return true
		}
	}
	return pushed.MatchString(name) || direct.MatchString(name)
}
