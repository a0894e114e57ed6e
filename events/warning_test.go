package events_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast.io/holdfast/events"
)

func TestWarn(t *testing.T) {
	var list []events.Warning
	for i := range 3 * events.MaxWarnings {
		list = events.Warn(list, events.WarningUnknownLabel, "label %d", i)
		list = events.Warn(list, events.WarningUnknownLabel, "label %d", i)
	}
	last := events.MaxWarnings - 1
	if len(list) != events.MaxWarnings || list[last].Code != events.WarningMore || list[last-1].Message != "label 6" {
		t.Errorf("the list is %v", list)
	}
	if got, want := events.WarningCodes(list), []events.WarningCode{events.WarningUnknownLabel, events.WarningMore}; !slices.Equal(got, want) {
		t.Errorf("the codes are %q, want %q", got, want)
	}
}

// A list that two items share must not be changed through one of them.
func TestWarnKeepsTheOther(t *testing.T) {
	list := make([]events.Warning, 0, 4)
	list = events.Warn(list, events.WarningUnknownLabel, "both")
	one, other := events.Warn(list, events.WarningUnknownLabel, "one"), events.Warn(list, events.WarningUnknownLabel, "other")
	if one[1].Message != "one" || other[1].Message != "other" {
		t.Errorf("the lists are %v and %v", one, other)
	}
}

func TestWarnShortens(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", events.MaxWarning+1), strings.Repeat("€", events.MaxWarning), "x" + strings.Repeat("€", events.MaxWarning), "x\xff",
	} {
		got := events.Warn(nil, events.WarningUnknownLabel, "%s", text)[0].Message
		if len(got) > events.MaxWarning || len(got) < min(len(text), events.MaxWarning-5) || !utf8.ValidString(got) {
			t.Errorf("%d bytes become %d: %q", len(text), len(got), got)
		}
	}
	if got := events.Warn(nil, events.WarningUnknownLabel, "fits")[0].Message; got != "fits" {
		t.Errorf("a short message becomes %q", got)
	}
}
