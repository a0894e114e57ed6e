package plan

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

func TestPlanIsStored(t *testing.T) {
	req := &events.BackupRequest{
		Containers: &events.ContainerSelector{Names: []string{"a", "gone"}, Match: []string{"^b"}, Labels: []string{"tier=web"}, All: true},
		Images:     &events.ImageSelector{Names: []string{"app:v1"}, Match: []string{"^db"}, All: true},
	}
	containers := []engine.Container{
		{ID: fill("1"), Name: "a"},
		{ID: fill("2"), Name: "b", Labels: map[string]string{"tier": "web"}},
		{ID: fill("3"), Name: "c", Labels: map[string]string{"tier": "web", labelComposeProject: "p", labelComposeService: "c"}},
		{ID: fill("4"), Name: "d", Labels: map[string]string{labelComposeProject: "p", labelComposeDependsOn: "c"}},
	}
	images := []engine.Image{
		{ID: fill("sha256:5"), References: []string{"app:v1"}},
		{ID: fill("sha256:6"), References: []string{"db:16"}},
		{ID: fill("sha256:7"), References: []string{"x:1"}},
	}
	p := Make(time.Now(), req, Inventory{Containers: containers, Images: images}, Rules{Quiesce: []events.Quiesce{events.QuiescePause}})
	var selectors []Selector
	for _, item := range p.Items {
		selectors = append(selectors, item.Selector)
	}
	if want := []Selector{ByName, ByPattern, ByLabel, ByAll, ByName, ByPattern, ByAll}; !reflect.DeepEqual(selectors, want) {
		t.Errorf("the items are selected by %q, want %q", selectors, want)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again := &Plan{}
	if err := json.Unmarshal(raw, again); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("%+v becomes %+v, %v", p, again, err)
	}
	if public := p.Public(); len(public.Items) != len(p.Items) || len(public.Missing) != 1 {
		t.Errorf("published are %+v", public)
	}
}

func TestCheck(t *testing.T) {
	for want, order := range map[string][]int{"names item 0 of 0": {0}, "names item -1 of 0": {-1}} {
		if err := (&Plan{StopOrder: order}).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", order, err)
		}
	}
	if err := (&Plan{Items: make([]Item, 2), StopOrder: []int{1, 0}}).Check(); err != nil {
		t.Error(err)
	}
}
