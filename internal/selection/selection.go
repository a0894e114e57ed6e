// Package selection is which points a request means: those that it names by their ids,
// and those that it selects by what they are of. It is pure.
package selection

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
)

// Points select points by what they are of. The zero value selects none.
type Points struct {
	hosts []string
	kinds map[events.ItemKind]*items
}

type items struct {
	*events.ItemSelector
	match []*regexp.Regexp
}

// Kinds are the kinds of items that points are of, in their order.
var Kinds = []events.ItemKind{events.ItemContainer, events.ItemImage, events.ItemVolume}

// New reads the selectors of a request, which has been validated. Hosts narrow what they
// select, and none do not.
func New(hosts []string, containers, images, volumes *events.ItemSelector) *Points {
	p := &Points{hosts: hosts, kinds: map[events.ItemKind]*items{}}
	for kind, from := range map[events.ItemKind]*events.ItemSelector{
		events.ItemContainer: containers, events.ItemImage: images, events.ItemVolume: volumes,
	} {
		if from == nil {
			continue
		}
		of := &items{ItemSelector: from}
		for _, m := range from.Match {
			of.match = append(of.match, regexp.MustCompile(m))
		}
		p.kinds[kind] = of
	}
	return p
}

// Why says why a point of an item of a host is selected; empty if it is not.
func (p *Points) Why(host string, item events.Item) string {
	of := p.kinds[item.Kind]
	if of == nil || !p.hasHost(host) {
		return ""
	}
	if slices.Contains(of.Names, item.Name) {
		return fmt.Sprintf("%s %q is named", item.Kind, item.Name)
	}
	for _, re := range of.match {
		if re.MatchString(item.Name) {
			return fmt.Sprintf("the name of %s %s matches %q", item.Kind, item.Name, re)
		}
	}
	if of.All {
		return fmt.Sprintf("all points of %ss are selected", item.Kind)
	}
	return ""
}

// WhyNot says why a point of a host is not selected.
func (p *Points) WhyNot(host string) string {
	if !p.hasHost(host) {
		return fmt.Sprintf("it is of host %s, and only %s is selected", host, strings.Join(p.hosts, ", "))
	}
	return "no selector finds it"
}

func (p *Points) hasHost(host string) bool {
	return len(p.hosts) == 0 || slices.Contains(p.hosts, host)
}

// Missing are the names of which no point was found, each once; found reports whether one
// was that Why selects.
func (p *Points) Missing(found func(kind events.ItemKind, name string) bool) (missing []events.Missing) {
	of := ""
	if len(p.hosts) > 0 {
		of = " of host " + strings.Join(p.hosts, ", ")
	}
	for _, kind := range Kinds {
		if p.kinds[kind] == nil {
			continue
		}
		for _, name := range distinct(p.kinds[kind].Names) {
			if !found(kind, name) {
				missing = append(missing, events.Missing{Kind: kind, Name: name, Code: events.CodePointNotFound,
					Message: fmt.Sprintf("the sink has no point of a %s %q%s", kind, name, of)})
			}
		}
	}
	return missing
}

// ByID finds points that a request names by their ids, each once, among n points of which
// at returns the id and the folder. An id is once in a sink, unless somebody has copied a
// folder: then neither is meant.
func ByID(ids []string, n int, at func(i int) (id, dir string)) (found []int, missing []events.Missing) {
	for _, id := range distinct(ids) {
		var hits []int
		var dirs []string
		for i := range n {
			if other, dir := at(i); other == id {
				hits, dirs = append(hits, i), append(dirs, dir)
			}
		}
		switch len(hits) {
		case 1:
			found = append(found, hits[0])
		case 0:
			missing = append(missing, events.Missing{Kind: events.ItemPoint, Name: id, Code: events.CodePointNotFound,
				Message: "the sink has no such point; 'holdfast list' shows those that it has"})
		default:
			missing = append(missing, events.Missing{Kind: events.ItemPoint, Name: id, Code: events.CodeAmbiguous,
				Message: fmt.Sprintf("%d points have this id, the first two are %s and %s: one is a copy of the other", len(hits), dirs[0], dirs[1])})
		}
	}
	return found, missing
}

// distinct returns the names without repetitions, in their order.
func distinct(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}
