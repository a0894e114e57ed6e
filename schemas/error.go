package schemas

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"holdfast.io/holdfast/schemas/strictjson"
)

// Violation is one thing that is wrong with a document.
type Violation struct {
	// Pointer is the RFC 6901 JSON Pointer to the offending member, also to one
	// that is missing; empty for the whole. See [strictjson.Pointer] for its
	// greatest length.
	Pointer string
	// Message says what is wrong in plain words. It follows the pointer as a
	// predicate follows its subject.
	Message string
	// Unsupported is set for a member of the contract that this version does not
	// support yet.
	Unsupported bool
}

func (v Violation) String() string { return strings.TrimSpace(v.Pointer + " " + v.Message) }

// Error says all that is wrong with a document, sorted by pointer.
type Error struct {
	// Violations are at least 1 and at most 50. The last says how many more
	// there are.
	Violations []Violation
}

func (e *Error) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.String()
	}
	return strings.Join(parts, "; ")
}

// maxViolations bounds what one error reports.
const maxViolations = 50

// broken reports a text that is not JSON.
func broken(err error) *Error {
	if bad, ok := errors.AsType[*strictjson.Error](err); ok {
		return &Error{Violations: []Violation{{Pointer: bad.Pointer, Message: bad.Message}}}
	}
	return &Error{Violations: []Violation{{Message: "is not JSON: " + err.Error()}}}
}

// newError makes an error of the validator's report, which is a tree and has no
// order.
func newError(report *jsonschema.ValidationError) *Error {
	all := violations(report)
	slices.SortFunc(all, func(a, b Violation) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Message, b.Message))
	})
	all = slices.Compact(all)
	if more := len(all) - (maxViolations - 1); more > 1 {
		all = append(all[:maxViolations-1], Violation{Message: fmt.Sprintf("and %d more", more)})
	}
	return &Error{Violations: all}
}

// violations returns the leaves of a report.
func violations(e *jsonschema.ValidationError) []Violation {
	var all []Violation
	add := func(message string, member ...string) {
		path := append(slices.Clip(e.InstanceLocation), member...)
		all = append(all, Violation{Pointer: strictjson.Pointer(path...), Message: message})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			add(unknown(e.SchemaURL, name), name)
		}
	case *kind.FalseSchema:
		// The schemas say "false" only of members that are not evaluated.
		add("unknown member " + strictjson.Quote(e.InstanceLocation[len(e.InstanceLocation)-1]))
	case *kind.Required:
		for _, name := range k.Missing {
			add("is required", name)
		}
	case *kind.Not:
		// The schemas say "not" only of what the contract has and this version
		// does not support.
		add("is not supported by this version")
		all[0].Unsupported = true
	case *kind.AnyOf:
		// That no alternative fits is one violation, not one for each.
		add(describe(e))
	default:
		for _, cause := range e.Causes {
			all = append(all, violations(cause)...)
		}
		if len(e.Causes) == 0 {
			add(describe(e))
		}
	}
	return all
}
