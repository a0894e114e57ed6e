package restore

import (
	"encoding/json"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/recreate"
)

// Labels that compose puts on containers.
const (
	labelProject   = "com.docker.compose.project"
	labelService   = "com.docker.compose.service"
	labelDependsOn = "com.docker.compose.depends_on"
)

// identity is by what other containers call one.
type identity struct {
	name             string
	project, service string
	labels           map[string]string
}

func identityOf(s *Source) (id identity) {
	id.name = s.Manifest.Item.Name
	var doc struct {
		Config struct{ Labels map[string]string }
	}
	if json.Unmarshal(s.Document, &doc) == nil {
		id.labels = doc.Config.Labels
	}
	id.project, id.service = id.labels[labelProject], id.labels[labelService]
	return id
}

// needs returns the indexes of the sources whose containers the i-th one needs: those
// whose namespaces or volumes it uses, those that it is linked to, and those that its
// compose file names.
func needs(all []*Source, ids []identity, i int) (needed []int) {
	for j := range all {
		if i != j && (names(all[i].Context, ids[j].name) || dependsOn(ids[i], ids[j])) {
			needed = append(needed, j)
		}
	}
	return needed
}

// names reports whether a container's context has another container of this name.
func names(c *recreate.Context, name string) bool {
	return c != nil && slices.ContainsFunc(c.Containers, func(o recreate.Container) bool { return o.Name == name })
}

// dependsOn reports whether the compose service of one depends on that of the other:
// the label has "service:condition:restart", separated by commas.
func dependsOn(one, other identity) bool {
	if one.project == "" || one.project != other.project || other.service == "" {
		return false
	}
	for entry := range strings.SplitSeq(one.labels[labelDependsOn], ",") {
		if service, _, _ := strings.Cut(strings.TrimSpace(entry), ":"); service == other.service {
			return true
		}
	}
	return false
}

// inOrder returns the sources so that each comes after those that it needs, and else in
// the order that they had. Where they need each other in a circle, the first one is
// first.
func inOrder(all []*Source) []*Source {
	ids := make([]identity, len(all))
	for i, s := range all {
		ids[i] = identityOf(s)
	}
	var ordered []*Source
	seen := make([]bool, len(all))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, j := range needs(all, ids, i) {
			visit(j)
		}
		ordered = append(ordered, all[i])
	}
	for i := range all {
		visit(i)
	}
	return ordered
}
