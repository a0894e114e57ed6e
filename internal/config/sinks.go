package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"holdfast.io/holdfast/internal/sink/open"
)

// Sinks are the configured sinks by name. In the file each is a URL, or a
// mapping with the URL and more; in the environment a URL.
type Sinks map[string]open.Config

// UnmarshalYAML implements [yaml.Unmarshaler].
func (s *Sinks) UnmarshalYAML(n *yaml.Node) error {
	var sinks map[string]yaml.Node
	if err := n.Decode(&sinks); err != nil {
		return err
	}
	*s = Sinks{}
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		node := sinks[name]
		c, err := sinkConfig(&node)
		if err != nil {
			return fmt.Errorf("sink %s: %w", name, err)
		}
		(*s)[name] = c
	}
	return nil
}

func sinkConfig(n *yaml.Node) (c open.Config, err error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return c, n.Decode(&c.URL)
	case yaml.MappingNode:
		return c, decodeKnown(n, &c)
	default:
		return c, fmt.Errorf("line %d: it must be a URL, or a mapping with url", n.Line)
	}
}

// decodeKnown decodes a mapping, and refuses members that the struct does not
// have: a node forgets that its decoder was told to.
func decodeKnown(n *yaml.Node, into any) error {
	known := map[string]bool{}
	var names []string
	t := reflect.TypeOf(into).Elem()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		known[name] = true
		names = append(names, name)
	}
	for i := 0; i < len(n.Content); i += 2 {
		if key := n.Content[i]; !known[key.Value] {
			return fmt.Errorf("line %d: it has no member %q; the members are: %s", key.Line, key.Value, strings.Join(names, ", "))
		}
	}
	return n.Decode(into)
}
