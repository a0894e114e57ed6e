package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
)

// Labels on a container that configure its backup.
const (
	LabelExclude = "holdfast.exclude"
	LabelQuiesce = "holdfast.quiesce"
	LabelProtect = "holdfast.protect"
	LabelVolumes = "holdfast.volumes"
)

// knownLabels are all labels that mean something to this version, sorted.
var knownLabels = []string{
	LabelExclude, hook.LabelOnError, hook.LabelPost, hook.LabelPre, hook.LabelTimeout, LabelProtect, LabelQuiesce, LabelVolumes,
}

// settings are what the labels of a container that is selected ask for, but for
// its hooks.
type settings struct {
	protect bool
	quiesce events.Quiesce // empty if the labels leave it to the request
	volumes string         // attached or none; empty if the labels leave it to the request
}

// The values of LabelVolumes.
const (
	volumesAttached = "attached"
	volumesNone     = "none"
)

// settingsOf reads a container's labels. An error names the label and says what it
// must be: a setting that cannot be read must not be taken for one that is not
// there.
func settingsOf(c engine.Container) (s settings, err error) {
	if _, err = boolLabel(c, LabelExclude); err != nil {
		return s, err
	}
	if s.protect, err = boolLabel(c, LabelProtect); err != nil {
		return s, err
	}
	if s.volumes, err = choiceLabel(c, LabelVolumes, volumesAttached, volumesNone); err != nil {
		return s, err
	}
	s.quiesce, err = choiceLabel(c, LabelQuiesce, events.QuiescePause, events.QuiesceNone, events.QuiesceStop)
	return s, err
}

// ProtectedByLabel says why a container's label keeps it from being paused or stopped;
// empty if it does not. A label that cannot be read does.
func ProtectedByLabel(c engine.Container) string {
	protect, err := boolLabel(c, LabelProtect)
	switch {
	case err != nil:
		return err.Error()
	case protect:
		return "its label " + LabelProtect + " says so"
	}
	return ""
}

// choiceLabel reads a label that is one of these values; one that is not there is
// empty.
func choiceLabel[S ~string](c engine.Container, label string, values ...S) (S, error) {
	text, ok := c.Labels[label]
	if !ok {
		return "", nil
	}
	if value := S(strings.TrimSpace(text)); slices.Contains(values, value) {
		return value, nil
	}
	last := len(values) - 1
	return "", fmt.Errorf("the label %s of container %s is %.64q; it must be %s or %s", label, c.Name, text, join(values[:last]), values[last])
}

// boolLabel reads a label that is true or false; one that is not there is false.
func boolLabel(c engine.Container, label string) (bool, error) {
	text, ok := c.Labels[label]
	if !ok {
		return false, nil
	}
	value, ok := parseBool(text)
	if !ok {
		return false, fmt.Errorf("the label %s of container %s is %.64q; it must be true or false", label, c.Name, text)
	}
	return value, nil
}

// parseBool reads a boolean as YAML 1.1 has it (yaml.org/type/bool.html), and 1
// and 0: tools that read YAML write what they read in their own spelling, such as
// True. White space around it does not count.
func parseBool(text string) (value, ok bool) {
	switch strings.TrimSpace(text) {
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "1":
		return true, true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", "0":
		return false, true
	}
	return false, false
}

// unknownLabels warns of each label that looks like one of Holdfast's and is none.
func unknownLabels(c engine.Container) []events.Warning {
	var warnings []events.Warning
	for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
		if slices.Contains(knownLabels, label) {
			continue
		}
		known, distance := nearestLabel(label)
		switch {
		case distance <= likelyTypo:
			warnings = events.Warn(warnings, events.WarningUnknownLabel,
				"container %s has the label %.64q, which has no effect; did you mean %s?", c.Name, label, known)
		case isOurs(label):
			warnings = events.Warn(warnings, events.WarningUnknownLabel,
				"container %s has the label %.64q, which has no effect; there are: %s", c.Name, label, strings.Join(knownLabels, ", "))
		}
	}
	return warnings
}

// likelyTypo is how many characters a label may differ from a known one to be
// taken for that one misspelt.
const likelyTypo = 3

// isOurs reports whether a label that is unknown is meant for Holdfast.
func isOurs(label string) bool {
	return slices.Contains(strings.Split(plainLabel(label), "."), "holdfast")
}

// nearestLabel returns the known label that is most like this one, and how many
// characters have to be changed, added or removed to make it that.
func nearestLabel(label string) (known string, distance int) {
	plain := plainLabel(label)
	if len(plain) > 64 {
		return "", len(plain)
	}
	distances := make(map[string]int, len(knownLabels))
	for _, l := range knownLabels {
		distances[l] = editDistance(plain, plainLabel(l))
	}
	known = slices.MinFunc(knownLabels, func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
	return known, distances[known]
}

// plainLabel is a label without what is easily mistaken: the case of its letters
// and the kind of its separators.
func plainLabel(label string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '/' {
			return '.'
		}
		return r
	}, strings.ToLower(strings.TrimSpace(label)))
}

// editDistance is the Levenshtein distance of two texts, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
