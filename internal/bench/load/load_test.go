//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/events"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // most of the time they wait
		panic(err)
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "holdfast-load-test-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		if err := os.RemoveAll(buildDir); err != nil {
			panic(err)
		}
		os.Exit(status)
	}))
}

// TestPartsUnderLoad measures every part with the smallest numbers that show
// what it is for. What a part finds wrong with a job is its error.
func TestPartsUnderLoad(t *testing.T) {
	t.Parallel()
	b := testBuilds(t)
	for _, part := range []struct {
		name string
		n    int
	}{{"takeover", 1}, {"fleet", 10}, {"worker", 4}, {"wide", 3}} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var out strings.Builder
			if err := b.measure(t.Context(), options{part: part.name, n: part.n, hosts: 2, dir: dir}, &out); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if !strings.Contains(out.String(), "| --- |") {
				t.Errorf("there is no table:\n%s", &out)
			}
			empty(t, dir)
		})
	}
}

// testBuilds returns the programs, which are built once for all tests.
func testBuilds(t *testing.T) *builds {
	t.Helper()
	b, err := builtOnce()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var builtOnce = sync.OnceValues(func() (*builds, error) { return build(context.Background(), buildDir) })

// buildDir is where the programs of all tests are built.
var buildDir string

func TestRunLoadReportsAPartAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out strings.Builder
	if err := run(t.Context(), options{part: "idle", n: 1, hosts: 1, dir: dir}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| 1 idle hosts on one server, 1s | all | per host |") {
		t.Errorf("it prints:\n%s", &out)
	}
	empty(t, dir)
}

func TestInterruptedPartLeavesNothing(t *testing.T) {
	t.Parallel()
	b, dir := testBuilds(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	p := part{name: "interrupted", n: 1, measure: func(l *lab, ctx context.Context, _ int) ([]table, error) {
		s, k, err := l.network(ctx, 1, hostNames(1)...)
		if err != nil {
			return nil, err
		}
		if _, err := l.simulate(ctx, k, s, hostNames(1), hostContainers); err != nil {
			return nil, err
		}
		cancel()
		return nil, ctx.Err()
	}}
	o := options{part: p.name, hosts: 1, dir: dir}
	if _, err := b.measurePart(ctx, o, p, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	empty(t, dir)
}

// empty reports what was left in a folder.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("this is left: %q", left)
	}
}

func TestLoadOptionsAreChecked(t *testing.T) {
	good := options{part: allParts, hosts: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []options{{part: "unknown", hosts: 1}, {part: allParts}, {part: allParts, hosts: 1, n: -1}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestWatchCountsAnEndOnce(t *testing.T) {
	ends := 0
	w := &watch{onEnd: func() { ends++ }, jobs: map[string]*moments{}, heard: make(chan struct{}, 1)}
	o := order{id: "1", host: "h"}
	at := time.Unix(100, 0)
	w.expect(o.job(), at)
	for i, eventType := range []string{
		events.Backup.ResultType(events.ResultAccepted), events.Backup.ResultType(events.ResultAccepted),
		events.Backup.ResultType(events.ResultItemCompleted), events.Backup.ResultType(events.ResultCompleted),
		events.Backup.ResultType(events.ResultCompleted),
	} {
		w.hear(events.EventSubject("h", o.job(), eventType), at.Add(time.Duration(i+1)*time.Second))
	}
	w.hear(events.EventSubject("h", "another", events.Backup.ResultType(events.ResultCompleted)), at)
	if err := w.wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	m := w.of([]order{o})[0]
	if ends != 1 || w.ended != 1 || m.accepted.Sub(at) != time.Second || m.ended.Sub(at) != 4*time.Second {
		t.Errorf("%d ends were told, %d counted; %+v", ends, w.ended, m)
	}
	if got := span([]moments{m, {published: at.Add(time.Hour), ended: at.Add(2 * time.Hour)}}); got != 2*time.Hour {
		t.Errorf("the span is %s", got)
	}
}

func TestAuditFindsASecondEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		a    audit
		good bool
	}{
		"good":     {audit{jobs: 2, once: 2, succeeded: 2}, true},
		"not once": {audit{jobs: 2, once: 1, succeeded: 2}, false},
		"failed":   {audit{jobs: 2, once: 2, succeeded: 1}, false},
	} {
		if err := tt.a.err(); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyReadsEveryByte(t *testing.T) {
	sink := t.TempDir()
	if err := os.WriteFile(filepath.Join(sink, "a"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	digest, size, err := digestOf(filepath.Join(sink, "a"))
	if err != nil {
		t.Fatal(err)
	}
	good := events.Artifact{Key: "a", Digest: digest, Size: size}
	altered, short, gone := good, good, good
	altered.Digest, short.Size, gone.Key = "sha256:0", 1, "b"
	for _, a := range []events.Artifact{altered, short, gone} {
		points := []events.BackupItemCompleted{{Artifacts: []events.Artifact{good, a}}, {Artifacts: []events.Artifact{good}}, {}}
		if right, _ := verify(t.Context(), sink, points); right != 1 {
			t.Errorf("with %+v %d points are right, not 1", a, right)
		}
	}
}

func TestFollowTakesANextEventThatIsTheEnd(t *testing.T) {
	heard := make(chan *nats.Msg, 2)
	heard <- &nats.Msg{Subject: events.EventSubject("h", "j", events.Backup.ResultType(events.ResultCompleted))}
	killed := time.Now()
	got, err := follow(t.Context(), heard, killed)
	if err != nil || got.next <= 0 || got.end < got.next {
		t.Errorf("%+v, %v", got, err)
	}
}
