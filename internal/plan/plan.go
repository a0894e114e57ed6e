// Package plan decides what a request means on a host: which containers, images and
// volumes it selects, why, how each container is quiesced, which volumes go into its
// point, and which containers may be neither paused nor stopped. Its functions are
// pure.
package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Rules are what a host's configuration and situation add to a request.
type Rules struct {
	// Quiesce are the modes that the host allows.
	Quiesce []events.Quiesce
	// Allowed are the containers that the host allows.
	Allowed Allowed
	// HooksAllowed has the commands run that the labels of containers name.
	HooksAllowed bool
	// Warnings are about the host.
	Warnings []events.Warning
	// ImageLabels are the labels of the images of those containers that NeedsImage
	// asks for.
	ImageLabels ImageLabels
	// Namespaces says of containers, by their ids, whose namespaces they use. It is
	// needed if MayStop says so.
	Namespaces map[string]Namespaces
	// Protected says, by container id, why a container may be neither paused nor
	// stopped.
	Protected map[string]string
	// Binds are the absolute, clean paths below which the host lets bind mounts be read.
	Binds []string
	// SkipMissing is set for a request to all hosts: one that does not have a
	// named container skips it.
	SkipMissing bool
	// Explain has the plan name also what no selector finds.
	Explain bool
}

// Inventory is what is on a host.
type Inventory struct {
	Containers []engine.Container
	Images     []engine.Image
	// Volumes are needed if NeedsVolumes says so.
	Volumes []engine.Volume
	// VolumeSizes are how many bytes are in volumes, by their names, as far as that is
	// known.
	VolumeSizes map[string]int64
}

// Make decides what a request means for this inventory at this time, and gives the
// reason for each thing that is in or out. It is a pure function: the request must
// have been validated, and the order of the result does not depend on the order of the
// inventory. Lists are not shortened.
func Make(now time.Time, req *events.BackupRequest, inventory Inventory, rules Rules) *Plan {
	plan := &Plan{Version: Version, Time: now.UTC()}
	v := newVolumes(req, inventory, rules)
	if req.Containers != nil {
		plan.Warnings = rules.Warnings
		planContainers(plan, req, v, rules)
	}
	if req.Images != nil {
		planImages(plan, req.Images, withoutSnapshots(inventory.Images), rules)
	}
	if req.Volumes != nil {
		v.planItems(plan)
	}
	plan.eachIn(req.AllSinks())
	return plan
}

func planContainers(plan *Plan, req *events.BackupRequest, volumes *volumes, rules Rules) {
	containers := slices.Clone(volumes.containers)
	slices.SortFunc(containers, func(a, b engine.Container) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	sel := req.Containers
	named := map[string]string{} // reason by id
	for _, name := range distinct(sel.Names) {
		c, missing := findContainer(containers, name)
		switch {
		case missing != nil:
			addMissing(plan, rules, missing)
		case named[c.ID] == "":
			named[c.ID] = fmt.Sprintf("named %q", name)
		}
	}
	match, exclude := compile(sel.Match), compile(sel.Exclude)
	m := &members{all: containers, rules: rules, together: req.Together}
	for _, c := range containers {
		item := events.Item{Kind: events.ItemContainer, ID: c.ID, Name: c.Name}
		by, in, out := ByName, named[c.ID], ""
		if in == "" {
			by, in, out = selectContainer(sel, match, exclude, c, rules.ImageLabels)
			if in != "" && out == "" && !rules.Allowed.allows(c) {
				out = "this host does not allow it to be backed up (policy.containers in its configuration)"
			}
		}
		switch {
		case out != "":
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: out})
		case in != "":
			planned := planContainer(req, rules, c, item, by, in)
			volumes.planMounts(&planned, c)
			m.items = append(m.items, planned)
			m.containers = append(m.containers, c)
		case rules.Explain:
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: "no selector finds it"})
		}
	}
	plan.StopOrder = m.order()
	m.refuseStops(plan.StopOrder)
	volumes.warnOfUsers(m)
	plan.Items = m.items
}

// addMissing records a name that leads to nothing, or to several things. Among
// all hosts, one that does not have the thing is not to blame.
func addMissing(plan *Plan, rules Rules, m *events.Missing) {
	if m.Code == events.CodeNotFound && rules.SkipMissing {
		plan.Skipped = append(plan.Skipped, events.Skipped{Kind: m.Kind, Name: m.Name})
		return
	}
	plan.Missing = append(plan.Missing, *m)
}

// selectContainer applies everything but names. It returns what selects the
// container and the reason for it to be in, and, if it was found but is narrowed
// away, the reason for that.
func selectContainer(sel *events.ContainerSelector, match, exclude []*regexp.Regexp, c engine.Container,
	image ImageLabels) (by Selector, in, out string) {
	switch re := firstMatch(match, c.Name); {
	case re != nil:
		by, in = ByPattern, fmt.Sprintf("its name matches %q", re)
	case len(sel.Labels) > 0 && hasLabels(c, sel.Labels):
		by, in = ByLabel, "it has the labels "+quoteFirst(sel.Labels)
	case sel.All:
		by, in = ByAll, "all containers are selected"
	default:
		return "", "", ""
	}
	if len(sel.States) > 0 && !slices.Contains(sel.States, c.State) {
		return by, in, fmt.Sprintf("it is %s, and only %s is selected", c.State, join(sel.States))
	}
	if re := firstMatch(exclude, c.Name); re != nil {
		return by, in, fmt.Sprintf("its name matches the exclusion %q", re)
	}
	if excluded, err := boolLabel(c, LabelExclude); err == nil && excluded {
		return by, in, "it has " + image.labelled(c, LabelExclude)
	}
	if !engine.Committable(c.State) {
		return by, in, fmt.Sprintf("it is %s, and the Engine cannot commit it", c.State)
	}
	return by, in, ""
}

// planContainer settles the quiesce of a selected container, and whether it is
// known already that it will fail.
func planContainer(req *events.BackupRequest, rules Rules, c engine.Container, item events.Item, by Selector, reason string) Item {
	p := Item{PlannedItem: events.PlannedItem{Item: item, Reason: reason, Warnings: warningsOf(c)}, Selector: by}
	if c.Lacks != "" {
		p.Code = events.CodeBadEngineAnswer
		p.Message = fmt.Sprintf("the Engine's list of containers lacks %s of container %s; see what answers in its place (holdfast doctor)",
			c.Lacks, c.Name)
		return p
	}
	set, err := settingsOf(c)
	if err != nil {
		p.Code, p.Message = events.CodeBadLabel, err.Error()
		return p
	}
	p.Quiesce = cmp.Or(set.quiesce, req.Quiesce, events.QuiescePause)
	if set.quiesce != "" {
		p.QuiesceReason = rules.ImageLabels.labelled(c, LabelQuiesce)
	}
	if planHooks(&p, c, rules); p.Code != "" {
		return p
	}
	why := rules.Protected[c.ID]
	if set.protect {
		why = rules.ImageLabels.labelled(c, LabelProtect)
	}
	if why != "" && p.Quiesce != events.QuiesceNone {
		p.Quiesce, p.QuiesceReason = events.QuiesceNone, "protected: "+why
	}
	switch {
	case !rules.Allowed.allows(c):
		p.Code = events.CodeNotAllowed
		p.Message = fmt.Sprintf("this host does not allow container %s to be backed up (policy.containers in its configuration)", c.Name)
	case !engine.Committable(c.State):
		p.Code = events.CodeUncommittable
		p.Message = fmt.Sprintf("container %s is %s, and the Engine cannot commit it", c.Name, c.State)
	case !slices.Contains(rules.Quiesce, p.Quiesce):
		p.Code = events.CodeQuiesceNotAllowed
		p.Message = fmt.Sprintf("container %s is to be committed with quiesce %s (%s), "+
			"but this host allows only %s (policy.quiesce in its configuration)",
			c.Name, p.Quiesce, cmp.Or(p.QuiesceReason, "as requested"), join(rules.Quiesce))
	}
	return p
}

// distinct returns the names without repetitions, in their order.
func distinct(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// maxQuoted is how many labels a reason names.
const maxQuoted = 8

// quoteFirst returns the first of a request's labels for a reason. There may be a
// thousand, and a reason for each container.
func quoteFirst(labels []string) string {
	if len(labels) <= maxQuoted {
		return fmt.Sprintf("%q", labels)
	}
	return fmt.Sprintf("%q and %d more", labels[:maxQuoted], len(labels)-maxQuoted)
}

func compile(patterns []string) []*regexp.Regexp {
	res := make([]*regexp.Regexp, 0, len(patterns))
	for _, p := range patterns {
		// A request whose expressions do not compile was rejected at the door.
		res = append(res, regexp.MustCompile(p))
	}
	return res
}

func firstMatch(res []*regexp.Regexp, name string) *regexp.Regexp {
	for _, re := range res {
		if re.MatchString(name) {
			return re
		}
	}
	return nil
}

func hasLabels(c engine.Container, labels []string) bool {
	for _, l := range labels {
		key, want, valued := strings.Cut(l, "=")
		got, ok := c.Labels[key]
		if !ok || valued && got != want {
			return false
		}
	}
	return true
}

func join[S ~string](list []S) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = string(s)
	}
	return strings.Join(parts, ", ")
}
