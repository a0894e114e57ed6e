package recreate

import (
	"slices"
	"strings"
)

// Compare compares the inspect document of a container with that of the one that was
// made again of it with these choices, member by member, and returns what of its
// configuration is not as it was, in the order of the members' names. A difference
// without a reason is one that should not be. A value that is not given and one that
// Engines take for the same are equal.
func Compare(was, now []byte, choices Choices) ([]Difference, error) {
	before, err := document(was)
	if err != nil {
		return nil, err
	}
	after, err := document(now)
	if err != nil {
		return nil, err
	}
	c := &comparison{was: byPlace(before), now: byPlace(after), choices: choices}
	c.compare(c.was, c.now)
	slices.SortStableFunc(c.found, func(a, b Difference) int { return strings.Compare(a.Member, b.Member) })
	return c.found, nil
}

// Unexpected returns those differences that no allowance explains.
func Unexpected(all []Difference) []Difference {
	return slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return d.Reason != "" })
}

// comparison is a comparison of two documents under way.
type comparison struct {
	was, now object
	choices  Choices
	path     []string // of what is compared
	found    []Difference
}

// byPlace calls mounts by their places in the container, as their order says nothing.
func byPlace(doc object) object {
	doc["Mounts"] = named(doc["Mounts"])
	host := members(doc["HostConfig"])
	host["Mounts"] = named(host["Mounts"])
	return doc
}

func named(mounts any) object {
	all := object{}
	for _, entry := range list(mounts) {
		mount := members(entry)
		place := mountName(mount)
		delete(mount, "Target")
		delete(mount, "Destination")
		all[place] = mount
	}
	return all
}

// strict are members of which nothing means something else than an empty value.
var strict = []string{
	"/HostConfig/MaskedPaths", "/HostConfig/ReadonlyPaths", "/HostConfig/Init", "/HostConfig/MemorySwappiness", "/Config/StopTimeout",
}

// unordered are lists whose order says nothing; the order of mounts says nothing
// either.
var unordered = []string{
	"/HostConfig/Links", "/HostConfig/Ulimits", "/NetworkSettings/Networks/*/Aliases", "/NetworkSettings/Networks/*/Links",
}

func (c *comparison) compare(was, now any) {
	before, isObject := was.(object)
	after, stillObject := now.(object)
	if isObject && stillObject {
		for _, name := range sortedNames(union(before, after)) {
			c.path = append(c.path, name)
			c.compare(before[name], after[name])
			c.path = c.path[:len(c.path)-1]
		}
		return
	}
	if c.equal(was, now) {
		return
	}
	member := pointer(c.path...)
	for i := range allowances {
		a := &allowances[i]
		if !a.fits(c.path) || a.when != nil && !a.when(c, was, now) {
			continue
		}
		if a.reason != "" {
			c.found = append(c.found, Difference{Member: member, Was: shown(member, was), Now: shown(member, now), Reason: a.reason})
		}
		return
	}
	c.found = append(c.found, Difference{Member: member, Was: shown(member, was), Now: shown(member, now)})
}

func union(a, b object) object {
	all := object{}
	for _, o := range []object{a, b} {
		for name := range o {
			all[name] = nil
		}
	}
	return all
}

// equal reports whether two values mean the same.
func (c *comparison) equal(was, now any) bool {
	if isEmpty(was) && isEmpty(now) {
		if slices.Contains(strict, pointer(c.path...)) {
			return same(was, now)
		}
		return true
	}
	if slices.ContainsFunc(unordered, func(pattern string) bool { return (&allowance{member: pattern}).fits(c.path) }) {
		before, after := list(was), list(now)
		return len(before) == len(after) && onlyMore(c, was, now) && onlyMore(c, now, was)
	}
	return same(was, now)
}

// same reports whether two values are written alike, whatever the order of members.
func same(a, b any) bool {
	switch a := a.(type) {
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(a, other, same)
	case object:
		other, ok := b.(object)
		if !ok || len(a) != len(other) {
			return false
		}
		for name := range a {
			value, there := other[name]
			if !there || !same(a[name], value) {
				return false
			}
		}
		return true
	}
	return a == b
}
