package kv_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/kv"
	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/ledger"
)

// oneWay is the delay to a server that is not near: 5 ms there and back.
const oneWay = 2500 * time.Microsecond

// distant returns a bus to a server with jobs, and one to the same from afar.
func distant(t testing.TB, jobs int) (far *bus.Bus) {
	t.Helper()
	p := bustest.Server(t)
	near := connectAs(t, bus.Options{URL: p.URL, User: p.User, Password: p.Password})
	if _, err := provision.Run(t.Context(), near, provision.Options{}); err != nil {
		t.Fatal(err)
	}
	bucket := kv.Jobs(near)
	var writing sync.WaitGroup
	for w := range 64 {
		writing.Go(func() {
			for i := w; i < jobs; i += 64 {
				j := &ledger.Jobs{Store: bucket, Host: host, Owner: "a"}
				if _, err := j.Claim(t.Context(), ledger.Request{Job: fmt.Sprintf("job%d", i), Digest: "d"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	return connectAs(t, bus.Options{URL: bustest.Distant(t, p, oneWay), User: p.User, Password: p.Password})
}

func connectAs(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// unsettled lists the jobs as a takeover does, and returns how many there are.
func unsettled(t testing.TB, b *bus.Bus) int {
	t.Helper()
	n := 0
	j := &ledger.Jobs{Store: kv.Jobs(b), Host: host, Owner: "b"}
	for _, err := range j.Unsettled(t.Context(), time.Hour) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// A message a round trip would be 1.5 s for 300 jobs.
func TestATakeoverIsNotBoundByTheDistance(t *testing.T) {
	const jobs = 300
	far := distant(t, jobs)
	began := time.Now()
	if n := unsettled(t, far); n != jobs {
		t.Errorf("%d jobs", n)
	}
	if took := time.Since(began); took > jobs*2*oneWay/2 {
		t.Errorf("it takes %s", took)
	}
}

func BenchmarkTakeover(b *testing.B) {
	const jobs = 10_000
	far := distant(b, jobs)
	for b.Loop() {
		if n := unsettled(b, far); n != jobs {
			b.Errorf("%d jobs", n)
		}
	}
}
