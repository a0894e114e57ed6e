package recreate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// object is a JSON object. Numbers in it stay as they are written, and members that
// this program does not know stay at all.
type object = map[string]any

// decode reads one JSON object.
func decode(raw []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var o object
	if err := dec.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("it is null")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON object")
	}
	return o, nil
}

// document reads an inspect document and holds it to having what every one has.
func document(raw []byte) (object, error) {
	doc, err := decode(raw)
	if err != nil {
		return nil, fmt.Errorf("the inspect document cannot be read: %w", err)
	}
	if text(doc["Id"]) == "" {
		return nil, errors.New("the inspect document lacks the Id")
	}
	for _, name := range []string{"Config", "HostConfig"} {
		if _, ok := doc[name].(object); !ok {
			return nil, fmt.Errorf("the inspect document lacks the %s", name)
		}
	}
	return doc, nil
}

// at returns the value at a path of names; nil if it is not there.
func at(o object, path ...string) any {
	var value any = o
	for _, name := range path {
		parent, _ := value.(object)
		value = parent[name]
	}
	return value
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func list(value any) []any {
	l, _ := value.([]any)
	return l
}

func members(value any) object {
	o, _ := value.(object)
	return o
}

// texts returns those entries of a list that are texts.
func texts(value any) []string {
	var all []string
	for _, v := range list(value) {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// textList is a list of texts as a JSON value.
func textList(all []string) []any {
	values := make([]any, len(all))
	for i, s := range all {
		values[i] = s
	}
	return values
}

// whole returns a number without a fraction; 0 for anything else.
func whole(value any) int64 {
	n, _ := value.(json.Number)
	i, _ := n.Int64()
	return i
}

// isEmpty reports whether a value is what Engines take for one that is not given.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	case object:
		return len(v) == 0
	}
	return false
}

// clone returns a copy that shares nothing.
func clone(value any) any {
	switch v := value.(type) {
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = clone(v[i])
		}
		return all
	case object:
		all := make(object, len(v))
		for name := range v {
			all[name] = clone(v[name])
		}
		return all
	}
	return value
}

// pointer returns the JSON Pointer of a path of names.
func pointer(path ...string) string {
	var p jsontext.Pointer
	for _, name := range path {
		p = p.AppendToken(name)
	}
	return string(p)
}

func sortedNames(o object) []string { return slices.Sorted(maps.Keys(o)) }

// maxShown is how much of a value is shown, in bytes.
const maxShown = 160

// hidden are members whose values may hold secrets, or are somebody's own affair, with
// all that is below them. They are not shown.
var hidden = []string{
	"/Config/Env", "/Config/Labels", "/Config/Cmd", "/Config/Entrypoint", "/Config/Healthcheck", "/Config/Shell", "/Config/OnBuild",
	"/Args", "/Path", "/HostConfig/LogConfig/Config", "/HostConfig/Annotations", "/HostConfig/StorageOpt",
}

// mountOptions are the part of a mount that may hold secrets: the driver's options.
const mountOptions = "VolumeOptions"

// shown returns a value as it is shown to people; empty for nothing, and for what is
// not to be shown.
func shown(member string, value any) string {
	if value == nil {
		return ""
	}
	if strings.HasPrefix(member, "/HostConfig/Mounts") {
		if strings.Contains(member, "/"+mountOptions) {
			return ""
		}
		if mount, ok := clone(value).(object); ok {
			delete(mount, mountOptions)
			value = mount
		}
	}
	for _, prefix := range hidden {
		if rest, ok := strings.CutPrefix(member, prefix); ok && (rest == "" || rest[0] == '/') {
			return ""
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	if s := string(raw); len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(string(raw[:maxShown]), "") + "…"
}
