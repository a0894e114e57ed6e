package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// findContainer resolves a name as the Engine does: a full id, an exact name, an
// unambiguous prefix of an id, in this order. One leading slash is dropped.
func findContainer(containers []engine.Container, name string) (engine.Container, *events.Missing) {
	bare := strings.TrimPrefix(name, "/")
	for _, c := range containers {
		if c.ID == bare {
			return c, nil
		}
	}
	for _, c := range containers {
		if c.Name == bare {
			return c, nil
		}
	}
	var found []engine.Container
	for _, c := range containers {
		if bare != "" && strings.HasPrefix(c.ID, bare) {
			found = append(found, c)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return engine.Container{}, missing(events.ItemContainer, name, len(found))
}

// findImage resolves a name as the Engine does: a full id, a reference (without
// a tag or digest: ":latest"), an unambiguous prefix of an id. It returns the
// reference that the image goes by.
func findImage(images []engine.Image, name string) (engine.Image, string, *events.Missing) {
	bare := strings.TrimPrefix(name, "sha256:")
	for _, img := range images {
		if strings.TrimPrefix(img.ID, "sha256:") == bare {
			return img, imageName(img), nil
		}
	}
	if ref, err := reference.ParseDockerRef(name); err == nil {
		familiar := reference.FamiliarString(ref)
		for _, img := range images {
			if slices.Contains(img.References, familiar) || slices.Contains(img.Digests, familiar) {
				return img, familiar, nil
			}
		}
	}
	var found []engine.Image
	for _, img := range images {
		if bare != "" && strings.HasPrefix(strings.TrimPrefix(img.ID, "sha256:"), bare) {
			found = append(found, img)
		}
	}
	if len(found) == 1 {
		return found[0], imageName(found[0]), nil
	}
	return engine.Image{}, "", missing(events.ItemImage, name, len(found))
}

func missing(kind events.ItemKind, name string, candidates int) *events.Missing {
	m := &events.Missing{Kind: kind, Name: name, Code: events.CodeNotFound}
	if candidates > 1 {
		m.Code = events.CodeAmbiguous
		m.Message = fmt.Sprintf("%q is the beginning of %d %s ids: give more of it", name, candidates, kind)
	} else {
		m.Message = fmt.Sprintf("no %s on this host has the %s %q", kind, nameOrID(kind), name)
	}
	return m
}

// nameOrID is what a thing of this kind can be named by: a volume has no id.
func nameOrID(kind events.ItemKind) string {
	if kind == events.ItemVolume {
		return "name"
	}
	return "name or id"
}

// imageNames returns what an image goes by, in order: its references; if it has
// none, as after a pull by digest, its digests; or else its id.
func imageNames(img engine.Image) []string {
	for _, names := range [][]string{img.References, img.Digests} {
		if len(names) > 0 {
			return slices.Sorted(slices.Values(names))
		}
	}
	return []string{img.ID}
}

func imageName(img engine.Image) string { return imageNames(img)[0] }

// withoutSnapshots returns the images without our own temporary ones. An image
// that somebody gave a name of his own is his, and goes by that.
func withoutSnapshots(images []engine.Image) []engine.Image {
	var others []engine.Image
	for _, img := range images {
		named := len(img.References)+len(img.Digests) > 0
		digests := slices.DeleteFunc(slices.Clone(img.Digests), engine.IsTemporary)
		img.Digests = slices.DeleteFunc(digests, func(d string) bool { return isPushedAs(img.References, d) })
		img.References = slices.DeleteFunc(slices.Clone(img.References), engine.IsTemporary)
		if !named || len(img.References)+len(img.Digests) > 0 {
			others = append(others, img)
		}
	}
	return others
}

// isPushedAs reports whether a digest is of a repository to which an image is pushed as a snapshot: it has
// it since then.
func isPushedAs(references []string, digest string) bool {
	repository, _, _ := strings.Cut(digest, "@")
	return slices.ContainsFunc(references, func(ref string) bool {
		tag, ok := strings.CutPrefix(ref, repository+":")
		return ok && !strings.Contains(tag, "/") && engine.IsTemporary(ref)
	})
}

// withoutHelpers returns the containers without those that we make ourselves to read
// and write volumes.
func withoutHelpers(containers []engine.Container) []engine.Container {
	return slices.DeleteFunc(slices.Clone(containers), func(c engine.Container) bool { return c.IsHelper() })
}
