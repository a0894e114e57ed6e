package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
)

// ImageLabels are the labels of images, by their ids. Those of an image that is
// not there are unknown: it is gone from the Engine, or its document cannot be read.
type ImageLabels map[string]map[string]string

// has reports whether the container's label came with its image. The Engine adds
// the image's labels to the container's own, so one that is set to the same value
// in both places counts as the image's.
func (l ImageLabels) has(c engine.Container, label string) bool {
	image, inImage := l[c.ImageID][label]
	own, ok := c.Labels[label]
	return ok && inImage && image == own
}

// labelled says of a label of the container what it is and whose.
func (l ImageLabels) labelled(c engine.Container, label string) string {
	text := fmt.Sprintf("the label %s=%.64s", label, strings.TrimSpace(c.Labels[label]))
	if l.has(c, label) {
		text += ", which came with its image"
	}
	return text
}

// NeedsImage reports whether a plan has to know whether labels of the container
// came with its image.
func NeedsImage(c engine.Container) bool {
	for label := range c.Labels {
		if isOurs(label) {
			return true
		}
	}
	return false
}

// hookLabels are the labels that name commands and how they are run.
var hookLabels = []string{hook.LabelPre, hook.LabelPost, hook.LabelTimeout, hook.LabelOnError}

// planHooks decides which of the container's hook labels count: those that were
// set on the container itself. Who made its image must not decide what is run in
// it during a backup.
func planHooks(item *Item, c engine.Container, rules Rules) {
	if !hook.Declared(c.Labels) && !slices.ContainsFunc(hookLabels, func(l string) bool { _, ok := c.Labels[l]; return ok }) {
		return
	}
	if !rules.HooksAllowed {
		if hook.Declared(c.Labels) {
			item.warn(events.WarningHooksNotRun, "container %s: its hooks are not run: this host forbids them (policy.hooks in its configuration)",
				c.Name)
		}
		return
	}
	own := map[string]string{}
	for _, label := range hookLabels {
		text, ok := c.Labels[label]
		switch {
		case rules.ImageLabels.has(c, label):
			item.ImageHooks = append(item.ImageHooks, label)
		case ok:
			own[label] = text
		}
	}
	if len(item.ImageHooks) > 0 {
		item.warn(events.WarningImageLabel,
			"container %s: hook labels that came with its image are ignored (%s); set hooks on the container itself", c.Name, join(item.ImageHooks))
	}
	if _, known := rules.ImageLabels[c.ImageID]; !known && hook.Declared(own) {
		item.warn(events.WarningImageLabel,
			"container %s: its image is gone or cannot be read, so its hooks may have come with it; they are run", c.Name)
	}
	item.warnOfIdleHooks(c, own)
	if _, err := hook.Parse(own); err != nil {
		item.Code, item.Message = events.CodeBadLabel, fmt.Sprintf("container %s: %v", c.Name, err)
	}
}

// warnOfIdleHooks warns of hook labels that have no effect. own are those of the
// container itself.
func (i *Item) warnOfIdleHooks(c engine.Container, own map[string]string) {
	switch {
	case hook.Declared(own) && c.State != events.StateRunning:
		i.warn(events.WarningHooksNotRun, "container %s is %s: its hooks are run only while it runs", c.Name, c.State)
	case !hook.Declared(own) && len(own) > 0:
		i.warn(events.WarningHooksNotRun, "container %s: %s has no effect without %s or %s",
			c.Name, join(slices.Sorted(maps.Keys(own))), hook.LabelPre, hook.LabelPost)
	}
}
