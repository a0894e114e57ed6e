package engine

import "strings"

// SnapshotRepository is the repository of the temporary images that commits
// make. They never outlive their item, and no request selects them.
const SnapshotRepository = "holdfast/snapshot"

// SnapshotReference is the name of the snapshot that the attempt with this id
// makes: repository:tag.
func SnapshotReference(id string) string { return SnapshotRepository + ":" + id }

// SnapshotComment is the comment that a snapshot is committed with. It finds the
// snapshot when it has lost its reference.
func SnapshotComment(reference string) string { return "holdfast snapshot " + reference }

// IsSnapshot reports whether a reference or a digest (repository@sha256:…) is that
// of a snapshot.
func IsSnapshot(name string) bool {
	rest, ok := strings.CutPrefix(name, SnapshotRepository)
	return ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "@"))
}
