package selection_test

import (
	"fmt"
	"slices"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/selection"
)

func TestWhy(t *testing.T) {
	p := selection.New([]string{"web01", "web02"},
		&events.ItemSelector{Names: []string{"web-1", "gone", "gone"}, Match: []string{"^api-"}}, nil, &events.ItemSelector{All: true})
	for _, c := range []struct {
		host string
		item events.Item
		want string
	}{
		{"web01", events.Item{Kind: events.ItemContainer, Name: "web-1"}, `container "web-1" is named`},
		{"web02", events.Item{Kind: events.ItemContainer, Name: "api-1"}, `the name of container api-1 matches "^api-"`},
		{"web01", events.Item{Kind: events.ItemContainer, Name: "db"}, ""},
		{"db01", events.Item{Kind: events.ItemContainer, Name: "web-1"}, ""},
		{"web01", events.Item{Kind: events.ItemImage, Name: "web-1"}, ""},
		{"web01", events.Item{Kind: events.ItemVolume, Name: "data"}, "all points of volumes are selected"},
		{"web01", events.Item{Kind: events.ItemPoint, Name: "data"}, ""},
	} {
		if got := p.Why(c.host, c.item); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.item.Name, c.host, got, c.want)
		}
	}
	if got := p.WhyNot("db01"); got != "it is of host db01, and only web01, web02 is selected" {
		t.Error(got)
	}
	if got := p.WhyNot("web01"); got != "no selector finds it" {
		t.Error(got)
	}
	missing := p.Missing(func(kind events.ItemKind, name string) bool { return kind == events.ItemContainer && name == "web-1" })
	if len(missing) != 1 || missing[0].Name != "gone" || missing[0].Message != `the sink has no point of a container "gone" of host web01, web02` {
		t.Errorf("missing are %+v", missing)
	}
	if none := (&selection.Points{}).Why("web01", events.Item{Kind: events.ItemContainer}); none != "" {
		t.Errorf("the zero value selects: %s", none)
	}
}

func TestByID(t *testing.T) {
	all := []string{"a", "b", "c", "b"}
	found, missing := selection.ByID([]string{"c", "b", "a", "d", "a"}, len(all), func(i int) (id, dir string) { return all[i], fmt.Sprint("dir", i) })
	if !slices.Equal(found, []int{2, 0}) {
		t.Errorf("found are %v", found)
	}
	if len(missing) != 2 || missing[0].Code != events.CodeAmbiguous || missing[1].Name != "d" || missing[1].Code != events.CodePointNotFound ||
		missing[0].Message != "2 points have this id, the first two are dir1 and dir3: one is a copy of the other" {
		t.Errorf("missing are %+v", missing)
	}
}
