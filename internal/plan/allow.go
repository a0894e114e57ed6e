package plan

import (
	"regexp"

	"holdfast.io/holdfast/internal/engine"
)

// Allowed says which containers a host's configuration lets requests back up: all
// of them if it has neither expressions nor labels, else those whose name matches
// one of the expressions or that have one of the labels.
type Allowed struct {
	// Match are unanchored RE2 expressions on names.
	Match []*regexp.Regexp
	// Labels are "K" or "K=V".
	Labels []string
}

// allows reports whether the container may be backed up.
func (a Allowed) allows(c engine.Container) bool {
	if len(a.Match)+len(a.Labels) == 0 || firstMatch(a.Match, c.Name) != nil {
		return true
	}
	for _, label := range a.Labels {
		if hasLabels(c, []string{label}) {
			return true
		}
	}
	return false
}
