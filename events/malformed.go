package events

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// MalformedError says why a message is not a CloudEvent that can be acted on.
type MalformedError struct {
	// Event has every attribute that could be read and is valid, and no data.
	Event event.Event
	// Violations are at most 50. Their pointers are into the event in its JSON
	// format, whichever mode it came in: /id, /expirytime.
	Violations []Violation
}

func (e *MalformedError) Error() string { return "not a valid CloudEvent: " + list(e.Violations) }

// Correlatable reports whether source and id could be read and are valid, so
// that whoever published the message can be answered.
func (e *MalformedError) Correlatable() bool { return e.Event.Source() != "" && e.Event.ID() != "" }

// maxViolations bounds what one error reports.
const maxViolations = 50

// atMost sorts violations, and bounds their number. The last says how many more
// there are.
func atMost(all []Violation) []Violation {
	slices.SortStableFunc(all, func(a, b Violation) int { return strings.Compare(a.Pointer, b.Pointer) })
	if more := len(all) - (maxViolations - 1); more > 1 {
		all = append(all[:maxViolations-1:maxViolations-1], Violation{Message: fmt.Sprintf("and %d more", more)})
	}
	return all
}

// list puts violations into one line.
func list(all []Violation) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = strings.TrimSpace(v.Pointer + " " + v.Message)
	}
	return strings.Join(parts, "; ")
}
