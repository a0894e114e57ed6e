package plan

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

var update = flag.Bool("update", false, "write the plans in testdata/plan as they come out now")

// TestPlan holds the plan of a request to testdata/plan. A file has the data of
// the request, what is on the Engine (a container's id, name, state and labels; an
// image's id, references and digests; the labels of a container's image; whose network and other
// namespaces a container uses; its mounts, as mount:TYPE:SOURCE:DESTINATION and :ro for
// one that is read-only; volumes with what is known of them; ␣ is a blank), the host's
// rules if there are any, and the plan. Ids are written without the zeros that fill them up.
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := planOf(t, archive)
			want := section(archive, "plan")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("the plan is\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

func section(a *txtar.Archive, name string) *txtar.File {
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	return &txtar.File{}
}

func planOf(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	for _, f := range a.Files {
		if !slices.Contains([]string{"request.json", "engine", "rules.json", "plan"}, f.Name) {
			t.Fatalf("what is %s?", f.Name)
		}
	}
	req, err := events.ParseBackupRequest(section(a, "request.json").Data)
	if err != nil {
		t.Fatal(err)
	}
	rules := Rules{Quiesce: []events.Quiesce{events.QuiescePause, events.QuiesceNone}}
	if raw := section(a, "rules.json").Data; raw != nil {
		if err := json.Unmarshal(raw, &rules); err != nil {
			t.Fatal(err)
		}
	}
	protected := map[string]string{}
	for id, why := range rules.Protected {
		protected[fill(id)] = why
	}
	rules.Protected = protected
	rules.ImageLabels, rules.Namespaces = ImageLabels{"": {}}, map[string]Namespaces{}
	return render(Make(time.Time{}, req, inventory(t, section(a, "engine").Data, rules), rules))
}

// fill makes an id as long as it is on an Engine.
func fill(id string) string {
	hex := strings.TrimPrefix(id, "sha256:")
	return id + strings.Repeat("0", 64-len(hex))
}

func inventory(t *testing.T, text []byte, rules Rules) Inventory {
	t.Helper()
	labels := rules.ImageLabels
	inv := Inventory{VolumeSizes: map[string]int64{}}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "container":
			c := engine.Container{ID: fill(fields[1]), Name: fields[2], State: events.State(fields[3]), Labels: map[string]string{}}
			for _, label := range fields[4:] {
				if image, ok := strings.CutPrefix(label, "image:"); ok {
					c.ImageID = fill(image)
					continue
				}
				if m, ok := strings.CutPrefix(label, "mount:"); ok {
					c.Mounts = append(c.Mounts, mountOf(m))
					continue
				}
				if id, ok := strings.CutPrefix(label, "network:"); ok {
					c.Network = "container:" + fill(id)
					continue
				}
				key, value, _ := strings.Cut(strings.ReplaceAll(label, "␣", " "), "=")
				c.Labels[key] = value
			}
			inv.Containers = append(inv.Containers, c)
		case fields[0] == "volume":
			inv.addVolume(t, fields[1:])
		case fields[0] == "labels":
			labels[fill(fields[1])] = map[string]string{}
			for _, label := range fields[2:] {
				key, value, _ := strings.Cut(strings.ReplaceAll(label, "␣", " "), "=")
				labels[fill(fields[1])][key] = value
			}
		case fields[0] == "namespaces":
			n := Namespaces{Unknown: fields[2] == "unknown"}
			for _, id := range fields[2:] {
				n.Of = append(n.Of, fill(id))
			}
			rules.Namespaces[fill(fields[1])] = n
		case fields[0] == "image":
			img := engine.Image{ID: fill(fields[1])}
			for _, ref := range fields[2:] {
				if name, id, ok := strings.Cut(ref, "@"); ok {
					img.Digests = append(img.Digests, name+"@"+fill(id))
				} else {
					img.References = append(img.References, ref)
				}
			}
			inv.Images = append(inv.Images, img)
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return inv
}

// mountOf reads TYPE:SOURCE:DESTINATION, and :ro if it is read-only.
func mountOf(text string) engine.Mount {
	parts := append(strings.Split(text, ":"), "", "")
	m := engine.Mount{Type: parts[0], Destination: parts[2], ReadOnly: parts[3] == "ro"}
	if m.Type == "volume" {
		m.Name = parts[1]
	} else {
		m.Source = parts[1]
	}
	return m
}

// addVolume reads a volume's name, and after it what is known of it: driver=NAME,
// type=OPTION, size=BYTES, created=TIME.
func (inv *Inventory) addVolume(t *testing.T, fields []string) {
	t.Helper()
	v := engine.Volume{Name: fields[0], Driver: engine.LocalDriver, Options: map[string]string{}}
	for _, field := range fields[1:] {
		var err error
		switch name, value, _ := strings.Cut(field, "="); name {
		case "driver":
			v.Driver = value
		case "type":
			v.Options["type"] = value
		case "size":
			inv.VolumeSizes[v.Name], err = strconv.ParseInt(value, 10, 64)
		case "created":
			v.CreatedAt, err = time.Parse(time.RFC3339, value)
		default:
			t.Fatalf("what is %q?", field)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	inv.Volumes = append(inv.Volumes, v)
}

// render writes a plan in lines: what is in (+), what is in but will fail (!),
// what is missing (?), and what is out (-).
func render(p *Plan) string {
	var b strings.Builder
	for _, i := range p.Items {
		sign := "+"
		if i.Code != "" {
			sign = "!"
		}
		fmt.Fprintf(&b, "%s %s %s %s", sign, i.Kind, i.ID, i.Name)
		if i.Sink != "" {
			fmt.Fprintf(&b, " in sink %s", i.Sink)
		}
		fmt.Fprintf(&b, "\n    %s\n", i.Reason)
		if i.Quiesce != "" {
			fmt.Fprintf(&b, "    quiesce %s", i.Quiesce)
			if i.QuiesceReason != "" {
				fmt.Fprintf(&b, ": %s", i.QuiesceReason)
			}
			b.WriteByte('\n')
		}
		if i.Code != "" {
			fmt.Fprintf(&b, "    %s: %s\n", i.Code, i.Message)
		}
		renderVolumes(&b, i)
		renderWarnings(&b, i.Warnings)
	}
	if !slices.IsSorted(p.StopOrder) {
		b.WriteString("stopped in this order:")
		for _, i := range p.StopOrder {
			fmt.Fprintf(&b, " %s", p.Items[i].Name)
		}
		b.WriteByte('\n')
	}
	for _, m := range p.Missing {
		fmt.Fprintf(&b, "? %s %s\n    %s: %s\n", m.Kind, m.Name, m.Code, m.Message)
	}
	for _, e := range p.Excluded {
		fmt.Fprintf(&b, "- %s %s %s\n    %s\n", e.Kind, e.ID, e.Name, e.Reason)
	}
	for _, k := range p.Skipped {
		fmt.Fprintf(&b, "~ %s %s\n    skipped\n", k.Kind, k.Name)
	}
	renderWarnings(&b, p.Warnings)
	return trimIDs.ReplaceAllStringFunc(b.String(), func(id string) string { return strings.TrimRight(id, "0") })
}

func renderVolumes(b *strings.Builder, i Item) {
	for _, v := range i.Volumes {
		fmt.Fprintf(b, "    with %s %s", v.Type, cmp.Or(v.Name, v.Source))
		if v.Destination != "" {
			fmt.Fprintf(b, " at %s", v.Destination)
		}
		if v.Size != 0 {
			fmt.Fprintf(b, ", %d bytes", v.Size)
		}
		if !v.CreatedAt.IsZero() {
			fmt.Fprintf(b, ", made %s", v.CreatedAt.Format(time.RFC3339))
		}
		if v.Driver != engine.LocalDriver && v.Driver != "" {
			fmt.Fprintf(b, ", driver %s", v.Driver)
		}
		b.WriteByte('\n')
	}
	for _, m := range i.NotIncluded {
		fmt.Fprintf(b, "    without %s %s at %s: %s\n", m.Type, cmp.Or(m.Name, m.Source), m.Destination, m.Reason)
	}
}

func renderWarnings(b *strings.Builder, warnings []events.Warning) {
	for _, w := range warnings {
		fmt.Fprintf(b, "    warning %s: %s\n", w.Code, w.Message)
	}
}

var trimIDs = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// world is what a plan is made of, at random. There is little of everything, so
// that much of it meets.
type world struct {
	req   *events.BackupRequest
	rules Rules
	Inventory
}

func randomWorld(r *rand.Rand) world {
	var w world
	ids := 0
	hex := func() string {
		ids++
		return fmt.Sprintf("%x", r.IntN(4)) + strings.Repeat("0", 61) + fmt.Sprintf("%02x", ids)
	}
	names := []string{"web", "web-1", "web-test", "api", "db", "0", "1", "DB"}
	labels := []string{"tier=web", "tier=db", "critical", LabelExclude + "=true", LabelQuiesce + "=none",
		LabelQuiesce + "=never", LabelProtect + "=true", LabelProtect + "=maybe", LabelExclude + "=maybe",
		LabelVolumes + "=attached", LabelVolumes + "=none"}
	states := []events.State{"created", "running", "paused", "restarting", "exited", "removing", "dead"}
	for _, name := range some(r, names) {
		c := engine.Container{ID: hex(), Name: name, State: states[r.IntN(len(states))], Labels: map[string]string{}}
		for _, v := range some(r, []string{"data", "data-2", "memory", "gone"}) {
			c.Mounts = append(c.Mounts, engine.Mount{Type: "volume", Name: v, Destination: "/" + v, ReadOnly: r.IntN(2) == 0})
		}
		for _, l := range some(r, labels) {
			key, value, _ := strings.Cut(l, "=")
			c.Labels[key] = value
		}
		w.Containers = append(w.Containers, c)
	}
	for _, ref := range some(r, []string{"app:v1", "app:latest", "db:16", engine.SnapshotReference("x-1"), "", "registry:5000/app:v1"}) {
		img := engine.Image{ID: "sha256:" + hex()}
		if ref != "" {
			img.References = []string{ref}
		}
		w.Images = append(w.Images, img)
	}
	for _, name := range some(r, []string{"data", "data-2", "memory", "other"}) {
		v := engine.Volume{Name: name, Driver: engine.LocalDriver}
		if name == "memory" {
			v.Options = map[string]string{"type": "tmpfs"}
		}
		w.Volumes = append(w.Volumes, v)
	}
	w.req = &events.BackupRequest{
		Volumes: &events.VolumeSelector{
			Names:    some(r, []string{"data", "nothing"}),
			Match:    some(r, []string{"^data", "o"}),
			Exclude:  some(r, []string{"2$"}),
			Attached: r.IntN(2) == 0,
		},
		Containers: &events.ContainerSelector{
			Names:   some(r, append(names, "gone", "/web", "2")),
			Match:   some(r, []string{"^web", "b$"}),
			Labels:  some(r, []string{"tier=web", "critical"}),
			All:     r.IntN(4) == 0,
			Exclude: some(r, []string{"-test$", "^a"}),
			States:  some(r, states[1:3]),
		},
		Images: &events.ImageSelector{
			Names:   some(r, []string{"app", "app:v1", "gone", "sha256:1", engine.SnapshotReference("x-1")}),
			Match:   some(r, []string{"^app", "16"}),
			All:     r.IntN(4) == 0,
			Exclude: some(r, []string{"latest"}),
		},
	}
	w.rules = Rules{Quiesce: []events.Quiesce{events.QuiescePause}, SkipMissing: r.IntN(2) == 0, Explain: r.IntN(2) == 0}
	return w
}

// some returns each of the values with a chance of one half, in any order.
func some[T any](r *rand.Rand, values []T) []T {
	var picked []T
	for _, i := range r.Perm(len(values)) {
		if r.IntN(2) == 0 {
			picked = append(picked, values[i])
		}
	}
	return picked
}

func TestPlanProperties(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := randomWorld(r)
		plan := Make(time.Time{}, w.req, w.Inventory, w.rules)

		shuffled := Inventory{Containers: slices.Clone(w.Containers), Images: slices.Clone(w.Images), Volumes: slices.Clone(w.Volumes)}
		r.Shuffle(len(shuffled.Containers), reflect.Swapper(shuffled.Containers))
		r.Shuffle(len(shuffled.Images), reflect.Swapper(shuffled.Images))
		r.Shuffle(len(shuffled.Volumes), reflect.Swapper(shuffled.Volumes))
		again := Make(time.Time{}, w.req, shuffled, w.rules)
		if !reflect.DeepEqual(plan, again) {
			t.Fatalf("seed %d: the plan depends on the order of the inventory:\n%s\nor\n%s", seed, render(plan), render(again))
		}

		if got, want := slices.Sorted(slices.Values(plan.StopOrder)), containersOf(plan); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the stop order is %v, and the containers are %v", seed, plan.StopOrder, want)
		}

		place := map[string]string{} // in or out, by kind and id
		for _, i := range plan.Items {
			if place[string(i.Kind)+i.ID] != "" {
				t.Fatalf("seed %d: %s %s is in the plan twice:\n%s", seed, i.Kind, i.Name, render(plan))
			}
			place[string(i.Kind)+i.ID] = "in"
		}
		for _, e := range plan.Excluded {
			if place[string(e.Kind)+e.ID] != "" {
				t.Fatalf("seed %d: %s %s is in the plan and out, or out twice:\n%s", seed, e.Kind, e.Name, render(plan))
			}
			place[string(e.Kind)+e.ID] = "out"
		}
		for _, c := range w.Containers {
			want := w.wants(c)
			if got := place["container"+c.ID] == "in"; got != want {
				t.Fatalf("seed %d: container %s %s is in the plan: %v, want %v\n%s", seed, c.Name, c.ID, got, want, render(plan))
			}
		}
		known := len(w.Containers) + len(withoutSnapshots(w.Images))
		if v := w.req.Volumes; len(v.Names)+len(v.Match) > 0 {
			known += len(w.Volumes)
		}
		if w.rules.Explain && len(place) != known {
			t.Fatalf("seed %d: the plan explains %d of %d things:\n%s", seed, len(place), known, render(plan))
		}
	}
}

// containersOf are the places of the plan's containers.
func containersOf(p *Plan) []int {
	var places []int
	for i, item := range p.Items {
		if item.Kind == events.ItemContainer {
			places = append(places, i)
		}
	}
	return places
}

// wants is the contract's own formula for a container:
// names ∪ ((match ∪ labels ∪ all) within states − exclude − those labelled).
func (w world) wants(c engine.Container) bool {
	s := w.req.Containers
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return regexp.MustCompile(p).MatchString(c.Name) })
	}
	labelled := len(s.Labels) > 0
	for _, l := range s.Labels {
		key, value, valued := strings.Cut(l, "=")
		got, ok := c.Labels[key]
		labelled = labelled && ok && (!valued || got == value)
	}
	found := (matches(s.Match) || labelled || s.All) &&
		(len(s.States) == 0 || slices.Contains(s.States, c.State)) &&
		!matches(s.Exclude) && c.Labels[LabelExclude] != "true" && c.State != events.StateDead && c.State != events.StateRemoving
	return found || slices.ContainsFunc(s.Names, func(name string) bool { return w.leadsTo(name) == c.ID })
}

// leadsTo is the id of the container that a name leads to, in the Engine's
// order: full id, name, unambiguous prefix.
func (w world) leadsTo(name string) string {
	name = strings.TrimPrefix(name, "/")
	var byID, byName, byPrefix []string
	for _, c := range w.Containers {
		switch {
		case c.ID == name:
			byID = append(byID, c.ID)
		case c.Name == name:
			byName = append(byName, c.ID)
		}
		if strings.HasPrefix(c.ID, name) {
			byPrefix = append(byPrefix, c.ID)
		}
	}
	if len(byPrefix) > 1 {
		byPrefix = nil
	}
	first := func(list []string) string { return strings.Join(list[:min(1, len(list))], "") }
	return cmp.Or(first(byID), first(byName), first(byPrefix))
}
