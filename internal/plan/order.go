package plan

import (
	"slices"
	"strings"
)

// Labels that compose leaves on its containers.
const (
	labelComposeProject   = "com.docker.compose.project"
	labelComposeService   = "com.docker.compose.service"
	labelComposeDependsOn = "com.docker.compose.depends_on"
)

// stopOrder returns the order in which to stop containers with these labels, as
// indexes into them; they are started in the reverse order. users are for each
// container those that use its namespaces; it may be nil. They are stopped before
// it, and a container that depends on a service of its compose project before all
// containers of that service. Where nothing depends on anything the order stays as
// it is.
//
// A service that is not among the containers does not count. Services that depend
// on each other in a circle stand in some order, and what depends on them, and
// what they depend on, in the right one.
func stopOrder(labels []map[string]string, users [][]int) []int {
	dependents := dependentsOf(labels)
	for i := range users {
		dependents[i] = append(slices.Clone(users[i]), dependents[i]...)
	}
	order := make([]int, 0, len(labels))
	seen := make([]bool, len(labels))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		for _, d := range dependents[i] {
			visit(d)
		}
		order = append(order, i)
	}
	for i := range labels {
		visit(i)
	}
	return order
}

// dependentsOf returns for each container those that depend on it.
func dependentsOf(labels []map[string]string) [][]int {
	type service struct{ project, name string }
	containers := map[service][]int{}
	for i, l := range labels {
		if l[labelComposeProject] != "" {
			s := service{l[labelComposeProject], l[labelComposeService]}
			containers[s] = append(containers[s], i)
		}
	}
	dependents := make([][]int, len(labels))
	for i, l := range labels {
		for _, name := range parseDependsOn(l[labelComposeDependsOn]) {
			for _, on := range containers[service{l[labelComposeProject], name}] {
				dependents[on] = append(dependents[on], i)
			}
		}
	}
	return dependents
}

// parseDependsOn returns the services that compose's label names. Between commas
// it has a service, and since version 2 the condition and whether to restart after
// colons: "db:service_healthy:true,cache:service_started:false".
func parseDependsOn(label string) []string {
	var services []string
	for entry := range strings.SplitSeq(label, ",") {
		name, _, _ := strings.Cut(entry, ":")
		if name = strings.TrimSpace(name); name != "" {
			services = append(services, name)
		}
	}
	return services
}
