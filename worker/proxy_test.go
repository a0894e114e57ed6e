package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	dockerevents "github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/step"
)

// TestProxy runs the main job through a socket proxy before the Engine, which lets
// through what the manual lists, and less.
func TestProxy(t *testing.T) {
	t.Parallel()
	var cases group
	type refusal struct {
		call     engine.Call
		together bool
	}
	seen := map[refusal]bool{} // a call is refused once for a container alone, and once for some together
	for _, m := range proxyModes {
		cases.add(m.name+", allowed", func(t *testing.T) { proxyAllows(t, m) })
		for _, call := range append(m.calls(), engine.CallContainers) {
			if call == engine.CallPing || seen[refusal{call, m.together}] {
				continue // without a ping no worker starts
			}
			seen[refusal{call, m.together}] = true
			cases.add(fmt.Sprintf("%s, %s refused", m.name, call), func(t *testing.T) { proxyRefuses(t, m, call) })
		}
	}
	cases.add("unpause hangs", proxyHangs)
	cases.add("commit's answer is cut off", func(t *testing.T) {
		proxyCuts(t, step.Recorded, dockertest.Treatment{Unanswered: true}, engine.CallCommit)
	})
	cases.add("save is cut off", func(t *testing.T) {
		proxyCuts(t, step.Committed, dockertest.Treatment{Cut: 64 << 10}, engine.CallSave)
	})
	cases.add("events are cut off", proxyCutsEvents)
	cases.run(t, 3)
}

// proxyMode is one way to capture containers.
type proxyMode struct {
	name     string
	quiesce  events.Quiesce
	together bool
}

var proxyModes = []proxyMode{
	{"pause", events.QuiescePause, false}, {"stop", events.QuiesceStop, false}, {"none", events.QuiesceNone, false},
	{"together with pause", events.QuiescePause, true}, {"together with stop", events.QuiesceStop, true},
}

// calls are the calls that the manual lists for the mode.
func (m proxyMode) calls() []engine.Call {
	item := events.PlannedItem{Item: events.Item{Kind: events.ItemContainer}, Quiesce: m.quiesce}
	return engine.CallsFor(item, m.together, false)
}

// proxied is a world whose worker reaches its Engine through a proxy that lets
// through the calls of one mode.
type proxied struct {
	*world
	proxy  *dockertest.Proxy
	worker *worker
	names  []string
	mode   proxyMode
	since  time.Time
}

func newProxied(t *testing.T, m proxyMode, refused []engine.Call, env ...string) *proxied {
	w := newWorld(t, worldOptions{})
	p := &proxied{world: w, proxy: dockertest.NewProxy(t, w.engine.Host()), mode: m, names: []string{w.container("a", 1<<20)}}
	if m.together {
		p.names = append(p.names, w.container("b", 1<<20))
	}
	allowed := append(m.calls(), engine.CallInfo, engine.CallContainers)
	p.proxy.Treat(dockertest.Treatment{Refuse: true}, engine.Calls...)
	p.proxy.Treat(dockertest.Treatment{}, allowed...)
	p.proxy.Treat(dockertest.Treatment{Refuse: true}, refused...)
	p.worker = w.start(workerOptions{dockerHost: p.proxy.Host(), env: env})
	p.since = time.Now()
	return p
}

func (p *proxied) ask() (job string) {
	p.t.Helper()
	return p.publish("1", fmt.Sprintf(`{"containers":{"names":["%s"]},"quiesce":%q,"together":%v}`,
		strings.Join(p.names, `","`), p.mode.quiesce, p.mode.together))
}

// touches are what happens to a container that is backed up.
var touches = []engine.Action{engine.ActionPause, engine.ActionUnpause, engine.ActionStop, engine.ActionDie,
	engine.ActionStart, engine.ActionCommit}

// touched returns what was done to the containers since the world began, by the
// Engine's own account.
func (p *proxied) touched() (done []string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	now := time.Now()
	for _, name := range p.names {
		messages, errs := p.engine.API().Events(ctx, dockerevents.ListOptions{
			Since: stamp(p.since), Until: stamp(now), Filters: filters.NewArgs(filters.Arg("container", p.busy[name].id)),
		})
		for open := true; open; {
			select {
			case m := <-messages:
				if slices.Contains(touches, engine.Action(m.Action)) {
					done = append(done, string(m.Action)+" "+name)
				}
			case err := <-errs:
				if !errors.Is(err, io.EOF) {
					p.t.Fatal(err)
				}
				open = false
			}
		}
	}
	return done
}

func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

func proxyAllows(t *testing.T, m proxyMode) {
	p := newProxied(t, m, nil)
	p.survived("proxy allows just what is needed for "+m.name, p.ask())
	goesOnWithout := []engine.Call{engine.CallVersion, engine.CallNetworks}
	for _, a := range p.proxy.Asked() {
		if a.Refused && !slices.Contains(goesOnWithout, a.Call) {
			t.Errorf("a call is needed that the manual does not list: %s %s", a.Method, a.Path)
		}
	}
}

// refusedWithin is how long it takes at most until a job that cannot be done is
// ended: no retry would help.
const refusedWithin = 20 * time.Second

// A refused call is found out before anything is touched.
func proxyRefuses(t *testing.T, m proxyMode, call engine.Call) {
	p := newProxied(t, m, []engine.Call{call})
	began := time.Now()
	job := p.ask()
	end := p.ended(job)
	took := time.Since(began)
	p.verify(job)
	method, path := call.Endpoint()
	var data events.Ended
	if err := end.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	said := strings.Contains(data.Message, method+" "+path) // if it does not come to items
	for _, item := range data.Items {
		said = said || item.Code == events.CodeEngineRefused
	}
	if data.Status != events.StatusFailed || !said {
		t.Errorf("the job ended as %s: %s", data.Status, end.Data())
	}
	if took > refusedWithin {
		t.Errorf("it took %s", took)
	}
	if done := p.touched(); len(done) > 0 {
		t.Errorf("this was done to the containers: %q", done)
	}
	if log := p.worker.output.String(); !strings.Contains(log, method+" "+path) {
		t.Errorf("the log does not name %s %s", method, path)
	}
	if len(data.Items) > 0 {
		p.checkFailures(job, method+" "+path)
	}
	report(t, fmt.Sprintf("%s: %s %s refused", m.name, method, path), 1,
		fmt.Sprintf("failed with %s in %s", events.CodeEngineRefused, took.Round(time.Millisecond)))
}

// checkFailures: the item's event names the call, says that asking again does not
// help, and has nothing of the proxy's page.
func (p *proxied) checkFailures(job, call string) {
	p.t.Helper()
	found := false
	for _, ev := range p.stored {
		if ev.job() != job || ev.Type() != events.Backup.ResultType(events.ResultItemFailed) {
			continue
		}
		var data events.ItemFailed
		if err := json.Unmarshal(ev.Data(), &data); err != nil {
			p.t.Fatal(err)
		}
		if data.Code != events.CodeEngineRefused {
			continue
		}
		found = true
		if data.Retryable || !strings.Contains(data.Message, call) || strings.ContainsAny(data.Message, "<>\n") || len(data.Message) > 1000 {
			p.t.Errorf("the event says, retryable %v: %q", data.Retryable, data.Message)
		}
	}
	if !found {
		p.t.Errorf("no item.failed with %s", events.CodeEngineRefused)
	}
}

// A call that is never answered is not begun either.
func proxyHangs(t *testing.T) {
	p := newProxied(t, proxyModes[0], nil, "HOLDFAST_RETRY_FOR=1s")
	p.proxy.Treat(dockertest.Treatment{Hang: true}, engine.CallUnpause)
	job := p.ask()
	end := p.ended(job)
	p.verify(job)
	if done := p.touched(); len(done) > 0 {
		t.Errorf("this was done to the containers: %q", done)
	}
	report(t, "proxy hangs in an unpause", 1, p.failure(end, events.CodeEngineUnavailable))
}

// proxyCuts cuts a call off after a step, once.
func proxyCuts(t *testing.T, after step.Name, treatment dockertest.Treatment, call engine.Call) {
	p := newProxied(t, proxyModes[0], nil, stopAfter(after, 1))
	job := p.ask()
	p.worker.frozen()
	before := p.asked(call)
	p.proxy.Treat(treatment, call)
	p.worker.resume()
	p.eventually("the call comes", func(context.Context) bool { return p.asked(call) > before }, func() any { return p.proxy.Asked() })
	time.Sleep(time.Second) // it is answered meanwhile
	p.proxy.Treat(dockertest.Treatment{}, call)
	p.survived(fmt.Sprintf("proxy cuts off: %s", call), job)
}

func (p *proxied) asked(call engine.Call) (n int) {
	for _, a := range p.proxy.Asked() {
		if a.Call == call {
			n++
		}
	}
	return n
}

// Without the Engine's account nothing is proven, so nothing is kept.
func proxyCutsEvents(t *testing.T) {
	p := newProxied(t, proxyModes[0], nil)
	p.proxy.Treat(dockertest.Treatment{Cut: 100}, engine.CallEvents)
	job := p.ask()
	end := p.ended(job)
	p.verify(job)
	report(t, "proxy cuts off the events", 1, p.failure(end, events.CodeNotQuiesced))
}
