package plan

import (
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

func TestParseBool(t *testing.T) {
	for text, want := range map[string][2]bool{
		"true": {true, true}, "True": {true, true}, "TRUE": {true, true}, " true": {true, true}, "true\n": {true, true},
		"yes": {true, true}, "Yes": {true, true}, "YES": {true, true}, "y": {true, true}, "Y": {true, true},
		"on": {true, true}, "On": {true, true}, "ON": {true, true}, "1": {true, true},
		"false": {false, true}, "False": {false, true}, "FALSE": {false, true}, "\tfalse ": {false, true},
		"no": {false, true}, "No": {false, true}, "NO": {false, true}, "n": {false, true}, "N": {false, true},
		"off": {false, true}, "Off": {false, true}, "OFF": {false, true}, "0": {false, true},
		"": {}, " ": {}, "tRUE": {}, "\"true\"": {}, "'true'": {}, "t": {}, "2": {}, "enabled": {}, "ja": {}, "true false": {},
		"null": {}, "~": {},
	} {
		if value, ok := parseBool(text); value != want[0] || ok != want[1] {
			t.Errorf("%q is read as %v, %v", text, value, ok)
		}
	}
}

func TestUnknownLabels(t *testing.T) {
	const blankAtItsEnd = "holdfast.protect "
	for label, want := range map[string]string{
		"holdfast.protected":                    "did you mean holdfast.protect?",
		"holdfast.hooks.pre":                    "did you mean holdfast.hook.pre?",
		"holdfast.hook.pro":                     "did you mean holdfast.hook.pre?",
		"holdfast.hook.on_error":                "did you mean holdfast.hook.on-error?",
		"holdfast.hook-pre":                     "did you mean holdfast.hook.pre?",
		"holdfast-exclude":                      "did you mean holdfast.exclude?",
		"Holdfast.Exclude":                      "did you mean holdfast.exclude?",
		"HOLDFAST_PROTECT":                      "did you mean holdfast.protect?",
		blankAtItsEnd:                           "did you mean holdfast.protect?",
		"holdfsat.protect":                      "did you mean holdfast.protect?",
		"io.holdfast.protect":                   "did you mean holdfast.protect?",
		"io.holdfast/hook.pre":                  "did you mean holdfast.hook.pre?",
		"holdfast.networks":                     "there are: holdfast.exclude, ",
		"holdfast":                              "there are: ",
		"com.example.holdfast.backup":           "there are: ",
		"holdfast." + strings.Repeat("x", 5000): "there are: ",
		"holdfast.protect":                      "",
		"holdfast.hook.pre":                     "",
		"holdfaster.speed":                      "",
		"com.docker.compose.project":            "",
		"protect":                               "",
		"exclude":                               "",
		"":                                      "",
	} {
		got := unknownLabels(engine.Container{Name: "web", Labels: map[string]string{label: "true"}})
		switch {
		case want == "" && len(got) > 0:
			t.Errorf("%q: %v", label, got)
		case want != "" && (len(got) != 1 || got[0].Code != events.WarningUnknownLabel || !strings.Contains(got[0].Message, want)):
			t.Errorf("%q: %v, want %q", label, got, want)
		}
	}
}

func TestKnownLabelsAreSorted(t *testing.T) {
	if !slices.IsSorted(knownLabels) {
		t.Errorf("they are %q", knownLabels)
	}
}

func TestEditDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"", "abc"}: 3, {"abc", ""}: 3, {"abc", "abc"}: 0, {"abc", "abd"}: 1, {"abc", "ac"}: 1,
		{"kitten", "sitting"}: 3, {"ab", "ba"}: 2,
	} {
		if got := editDistance(pair[0], pair[1]); got != want {
			t.Errorf("from %q to %q are %d changes, want %d", pair[0], pair[1], got, want)
		}
	}
}
