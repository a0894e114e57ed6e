package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/step"
)

// scenario is a job that passes a step.
type scenario string

const (
	pausing  scenario = "pause"    // two containers, each paused by its commit
	stopping scenario = "stop"     // two containers, stopped and started again
	joining  scenario = "together" // two containers, paused, committed, and let go together
	hooking  scenario = "hook"     // a container with commands before and after
	imaging  scenario = "image"    // an image
	reading  scenario = "volumes"  // two containers, paused until their volumes are read, and a volume
	sending  scenario = "bucket"   // two containers with their volumes, into a bucket, in parts
	layering scenario = "layers"   // two containers, into a sink that has each layer once
	pushing  scenario = "push"     // the same, and the Engine pushes what is new
	priming  scenario = "prime"    // a container of an image that was built there, and the worker is idle then
	shipping scenario = "registry" // two containers, pushed by the Engine to the registry in which the sink lies
	pruning  scenario = "prune"    // points of a container, removed without a grace
	drilling scenario = "drill"    // the point of a container, started and removed again
	copying  scenario = "copy"     // points, one of which is protected, to another sink
	doubling scenario = "sinks"    // two containers, into a folder and a bucket
	fanning  scenario = "fan"      // two containers, pushed by the Engine once for two sinks

	replacing scenario = "replace" // a container that runs, restored in its own place

	overwriting scenario = "overwrite" // the same, with what its volume holds
	returning   scenario = "return"    // a container that is gone, with its volume
	sharing     scenario = "share"     // a container that runs, in its own place, and two that use its network
)

// crashes are the jobs in which a worker dies right after a step. Each step has at
// least one, which every run has; make crash has all of them.
var crashes = map[step.Name][]scenario{
	step.Claimed:        {pausing},
	step.Planned:        {pausing, pruning, drilling, copying},
	step.Accepted:       {pausing},
	step.ItemBegun:      {pausing},
	step.Recorded:       {pausing, imaging, reading, drilling, replacing, sharing, copying},
	step.HelpersMade:    {reading, sending},
	step.HookRun:        {hooking},
	step.Paused:         {joining},
	step.Stopped:        {stopping, replacing, sharing},
	step.Committed:      {pausing, stopping, joining, hooking, reading, sharing, sending, pushing},
	step.VolumeRead:     {reading, sending},
	step.Resumed:        {stopping, joining, hooking},
	step.Staged:         {pausing, imaging, copying, sending},
	step.PushedDirect:   {shipping},
	step.LayerStored:    {pushing, layering},
	step.Saved:          {pausing, imaging, copying, sending, layering, pushing, shipping},
	step.Published:      {pausing, joining, copying, sending, layering, pushing, shipping},
	step.Checked:        {drilling},
	step.Loaded:         {drilling, replacing},
	step.Created:        {drilling, replacing, returning, sharing},
	step.Connected:      {replacing},
	step.Renamed:        {replacing, sharing},
	step.Kept:           {overwriting},
	step.Cleared:        {overwriting},
	step.Filled:         {overwriting, returning},
	step.Named:          {replacing, sharing},
	step.Started:        {drilling, replacing, sharing},
	step.GatePassed:     {replacing, sharing},
	step.DependantMade:  {sharing},
	step.DependantNamed: {sharing},
	step.DependantsRun:  {sharing},
	step.Restored:       {replacing, sharing},
	step.ReplacedGone:   {replacing, sharing},
	step.Removed:        {pausing, drilling},
	step.RecordGone:     {pausing, drilling, copying},
	step.Marked:         {drilling, copying},
	step.Hidden:         {pruning},
	step.Erased:         {pruning},
	step.ItemEnded:      {pausing, pruning, replacing, copying},
	step.ItemReported:   {pausing},
	step.Ended:          {pausing},
	step.EndReported:    {pausing},
	step.Acknowledged:   {pausing},
	step.Primed:         {priming},
}

// kind is the kind of the scenario's request.
func (s scenario) kind() events.Kind {
	switch s {
	case pruning:
		return events.Prune
	case drilling:
		return events.Verify
	case copying:
		return events.Copy
	case replacing, overwriting, returning, sharing:
		return events.Restore
	}
	return events.Backup
}

// severalParts is more than a bucket takes as one part, in bytes.
const severalParts = 20 << 20

// world is what the scenario takes place in.
func (s scenario) world() worldOptions {
	return worldOptions{bucket: s == sending, offsiteBucket: s == doubling, layers: s == layering,
		pushes: s == pushing || s == priming || s == fanning, offsiteLayers: s == fanning, registry: s == shipping}
}

// prepare makes what the scenario needs in a world, and returns the data of its
// request.
func (s scenario) prepare(w *world) string {
	const payload = 4 << 20
	switch s {
	case pruning:
		w.points("web-1", 3)
		return `{"keep":{"last":1},"grace":"0s"}`
	case copying:
		return prepareCopying(w)
	case replacing:
		return prepareReplacing(w)
	case overwriting:
		return prepareOverwriting(w)
	case returning:
		return prepareReturning(w)
	case sharing:
		return prepareSharing(w)
	}
	c := dockertest.Container{Payload: payload}
	if s == drilling {
		c.Name = "a"
		worker := w.start(workerOptions{})
		w.ended(w.backup("before", w.run(c)))
		worker.kill()
		return `{"containers":{"all":true},"level":"drill"}`
	}
	switch s {
	case priming: // of several one would have the Engine push the base
		w.build()
		c.Name = "a"
		return fmt.Sprintf(`{"containers":{"names":[%q]}}`, w.run(c))
	case layering, pushing: // the sink has the base, so that only what is new is stored
		w.baseStored("")
	case fanning:
		w.baseStored(bothSinks)
	case sending:
		c.Payload = severalParts
	case imaging:
		return fmt.Sprintf(`{"images":{"names":[%q]}}`, w.image)
	case hooking:
		c.Labels = map[string]string{
			"holdfast.hook.pre":  `["/writer","/data/pre"]`,
			"holdfast.hook.post": `["/writer","/data/post"]`,
		}
	}
	var names []string
	for _, c.Name = range []string{"a", "b"} {
		if s == reading || s == sending {
			c.Volume = w.host + "-" + c.Name
		}
		names = append(names, w.run(c))
	}
	switch s {
	case reading:
		return fmt.Sprintf(`{"containers":{"names":["%s"]},"volumes":{"names":[%q],"attached":true}}`, strings.Join(names, `","`), c.Volume)
	case sending:
		return fmt.Sprintf(`{"containers":{"names":["%s"]},"volumes":{"attached":true}}`, strings.Join(names, `","`))
	}
	option := map[scenario]string{
		stopping: `,"quiesce":"stop"`, joining: `,"together":true`, doubling: bothSinks, fanning: bothSinks,
	}[s]
	return fmt.Sprintf(`{"containers":{"names":["%s"]}%s}`, strings.Join(names, `","`), option)
}

// sideBySide bounds how many worlds there are at a time: most of them wait.
const sideBySide = 6

// takeovers are the jobs in which a worker dies where it leaves something behind,
// and another one takes over that has not its disk.
var takeovers = map[step.Name]scenario{
	step.Recorded: pausing, step.Paused: joining, step.Stopped: stopping, step.Committed: pausing,
	step.VolumeRead: reading, step.Resumed: hooking, step.Staged: sending, step.LayerStored: pushing, step.PushedDirect: shipping, step.Saved: sending, step.Published: sending,
	step.Ended:  pausing,
	step.Marked: copying, step.Loaded: drilling, step.Started: drilling, step.Cleared: overwriting, step.DependantNamed: sharing,
}

// thorough has a worker die after each step in each kind of job, instead of in one.
var thorough = flag.Bool("thorough", false, "kill a worker after each step of each kind of job, and not of one")

// TestCrash kills a worker after each step of a job. The next one carries the job
// on to its success, and nothing is left of the first.
func TestCrash(t *testing.T) {
	t.Parallel()
	var cases group
	for _, name := range slices.Backward(step.All()) { // the last ones wait longest
		if len(crashes[name]) == 0 {
			t.Errorf("no job is known in which a worker dies after the step %q", name)
		}
		for _, s := range crashes[name] {
			if !*thorough && s != crashes[name][0] {
				break
			}
			cases.add(fmt.Sprintf("%s %s", name, s), func(t *testing.T) { crash(t, name, 1, s, true) })
		}
		if s, ok := takeovers[name]; ok {
			cases.add(fmt.Sprintf("%s %s takeover", name, s), func(t *testing.T) { crash(t, name, 1, s, false) })
		}
	}
	cases.run(t, sideBySide)
}

// crash has a worker die at the nth passing of a step.
func crash(t *testing.T, name step.Name, nth int, s scenario, sameDir bool) {
	w := newWorld(t, s.world())
	data := s.prepare(w)
	first := w.start(workerOptions{env: []string{crashAfter(name, nth)}})
	job := w.ask(s.kind(), "crash", data)
	first.killed()
	began := time.Now()
	next := workerOptions{}
	if sameDir {
		next.state = first.state
	}
	w.start(next)
	end := w.ended(job)
	took := time.Since(began)
	if s.kind() == events.Restore {
		w.meet()
	}
	switch s {
	case overwriting:
		w.checkKept()
	case sharing:
		w.checkShared()
	case copying:
		w.checkProtected()
	case doubling:
		w.checkSame(2)
	case fanning:
		w.checkSame(3) // one of them from before
		w.checkPushed(job)
	case pushing:
		w.checkPushed(job)
	case shipping:
		w.checkMoved(job, events.TransportDirect)
	}
	w.verify(job)
	if s == sharing {
		w.checkUsed()
	}
	if !endsAsItMust(t, end, s) {
		t.Errorf("the job ended as %s: %s", endStatus(t, end), end.Data())
	}
	fault := fmt.Sprintf("sigkill after %s in %s", name, s)
	if nth > 1 {
		fault = fmt.Sprintf("sigkill after %s for the %d. time in %s", name, nth, s)
	}
	if !sameDir {
		fault += ", another worker takes over"
	}
	report(t, fault, 1, fmt.Sprintf("%s, %s after the next worker's start", endStatus(t, end), took.Round(100*time.Millisecond)))
}

// endsAsItMust reports whether a job succeeded; or whether items of one point in
// time are left out because others were stored by a worker that died: their time
// has passed.
func endsAsItMust(t *testing.T, end storedEvent, s scenario) bool {
	t.Helper()
	var data events.Ended
	if err := end.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	for _, item := range data.Items {
		if item.Status != events.OutcomeCompleted && (s != joining || item.Code != events.CodeNotTogether) {
			return false
		}
	}
	return data.Counts.Completed > 0
}

// endStatus is how a job ended.
func endStatus(t *testing.T, end storedEvent) events.Status {
	t.Helper()
	var data events.Ended
	if err := end.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	return data.Status
}

// report prints one line of the table of faults.
func report(t *testing.T, fault string, tries int, outcome string) {
	t.Helper()
	if !t.Failed() {
		t.Logf("fault=%q tries=%d outcome=%q", fault, tries, outcome)
	}
}

// worldsAtATime bounds how many tests of all groups run at a time: they wait much more
// than they work, but with many more of them the machine is no longer quick enough for
// their timeouts.
var worldsAtATime = make(chan struct{}, 8)

// group is tests that run side by side, whatever -parallel says.
type group struct {
	names []string
	tests []func(*testing.T)
}

func (g *group) add(name string, test func(*testing.T)) {
	g.names, g.tests = append(g.names, name), append(g.tests, test)
}

// run runs them, at most n at a time.
func (g *group) run(t *testing.T, n int) {
	t.Helper()
	free := make(chan struct{}, n)
	var running sync.WaitGroup
	for i, name := range g.names {
		free <- struct{}{}
		worldsAtATime <- struct{}{}
		running.Go(func() {
			defer func() { <-free; <-worldsAtATime }()
			t.Run(name, g.tests[i])
		})
	}
	running.Wait()
}
