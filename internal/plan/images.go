package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

func planImages(plan *Plan, sel *events.ImageSelector, images []engine.Image, rules Rules) {
	slices.SortFunc(images, func(a, b engine.Image) int {
		return cmp.Or(strings.Compare(imageName(a), imageName(b)), strings.Compare(a.ID, b.ID))
	})
	type found struct{ name, reason string }
	named := map[string]found{}
	for _, name := range distinct(sel.Names) {
		img, ref, missing := findImage(images, name)
		if missing != nil {
			addMissing(plan, rules, missing)
		} else if _, again := named[img.ID]; !again {
			named[img.ID] = found{ref, fmt.Sprintf("named %q", name)}
		}
	}
	match, exclude := compile(sel.Match), compile(sel.Exclude)
	for _, img := range images {
		item := events.Item{Kind: events.ItemImage, ID: img.ID, Name: imageName(img)}
		var by Selector
		var in, out string
		if f, ok := named[img.ID]; ok {
			item.Name, by, in = f.name, ByName, f.reason
		} else {
			item.Name, by, in, out = selectImage(sel, match, exclude, img)
		}
		switch {
		case out != "":
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: out})
		case in != "":
			plan.Items = append(plan.Items, Item{PlannedItem: events.PlannedItem{Item: item, Reason: in}, Selector: by})
		case rules.Explain:
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: "no selector finds it"})
		}
	}
}

// selectImage applies everything but names. An image goes by the first of its
// references that the request finds and does not exclude.
func selectImage(sel *events.ImageSelector, match, exclude []*regexp.Regexp, img engine.Image) (name string, by Selector, in, out string) {
	name = imageName(img)
	for _, ref := range imageNames(img) {
		selector, reason := ByAll, "all images are selected"
		if re := firstMatch(match, ref); re != nil {
			selector, reason = ByPattern, fmt.Sprintf("its name matches %q", re)
		} else if !sel.All {
			continue
		}
		if re := firstMatch(exclude, ref); re != nil {
			name, by, in, out = ref, selector, reason, fmt.Sprintf("its name matches the exclusion %q", re)
			continue
		}
		return ref, selector, reason, ""
	}
	return name, by, in, out
}
