package kv_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/kv"
	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestBucketsAreStores(t *testing.T) {
	t.Parallel()
	b := bustest.Provisioned(t, bustest.Embedded(t))
	t.Run("jobs", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(*testing.T) ledger.Store { return kv.Jobs(b) })
	})
	t.Run("locks", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(*testing.T) ledger.Store { return kv.Locks(b) })
	})
}

// put writes a key that must be written.
func put(t *testing.T, s ledger.Store, key, value string, expected uint64) uint64 {
	t.Helper()
	revision, err := s.Put(bustest.Within(t, bustest.Patience), key, []byte(value), expected, 0)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func has(t *testing.T, s ledger.Store, key, value string) {
	t.Helper()
	v, _, err := s.Get(bustest.Within(t, bustest.Patience), key)
	if err != nil || string(v) != value {
		t.Errorf("%s is %q, not %q (%v)", key, v, value, err)
	}
}

func TestLocksAreForgotten(t *testing.T) {
	t.Parallel()
	locks := kv.Locks(bustest.Provisioned(t, bustest.Embedded(t)))
	began := time.Now()
	put(t, locks, "host", "owner", 0)
	bustest.Eventually(t, "it is forgotten", func() bool {
		_, _, err := locks.Get(t.Context(), "host")
		return errors.Is(err, ledger.ErrNotFound)
	})
	if after := time.Since(began); after < 9*time.Second || after > 12*time.Second {
		t.Errorf("it was forgotten after %s", after)
	}
}

func TestBucketWithoutARoom(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	shrink(t, js, "KV_HOLDFAST_JOBS", 10<<10)
	jobs := kv.Jobs(b)
	value := strings.Repeat("x", 1000)
	var (
		first uint64
		err   error
		keys  int
	)
	for ; err == nil && keys < 100; keys++ {
		var revision uint64
		if revision, err = jobs.Put(bustest.Within(t, bustest.Patience), fmt.Sprint("key.", keys), []byte(value), 0, 0); keys == 0 {
			first = revision
		}
	}
	if !errors.Is(err, ledger.ErrFull) || !errors.Is(err, bus.ErrFull) || keys < 5 {
		t.Fatalf("after %d keys: %v", keys, err)
	}
	put(t, jobs, "key.0", value, first) // one that does not grow
	if err := jobs.Delete(bustest.Within(t, bustest.Patience), "key.1"); err != nil {
		t.Fatal(err)
	}
	put(t, jobs, "key.1", value[:500], 0)
}

func shrink(t *testing.T, js jetstream.JetStream, stream string, bytes int64) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxBytes = bytes
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func TestBucketThatIsNotProvisioned(t *testing.T) {
	jobs := kv.Jobs(bustest.Connect(t, bustest.Embedded(t)))
	ctx := bustest.Within(t, bustest.Patience)
	_, _, get := jobs.Get(ctx, "key")
	_, put := jobs.Put(ctx, "key", nil, 0, 0)
	for what, err := range map[string]error{"get": get, "put": put, "delete": jobs.Delete(ctx, "key")} {
		if !errors.Is(err, bus.ErrNotProvisioned) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range jobs.List(ctx, ">") {
		if !errors.Is(err, bus.ErrNotProvisioned) {
			t.Errorf("list: %v", err)
		}
	}
}

// A header on a message of one key must not do away with the others.
func TestBucketsCannotBeRolledUp(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	for _, bucket := range []string{events.BucketJobs, events.BucketLocks} {
		subject := "$KV." + bucket + ".mine"
		if _, err := js.Publish(t.Context(), "$KV."+bucket+".another", nil); err != nil {
			t.Fatal(err)
		}
		for _, rollup := range []string{jetstream.MsgRollupAll, jetstream.MsgRollupSubject} {
			m := &nats.Msg{Subject: subject, Header: nats.Header{jetstream.MsgRollup: {rollup}}}
			if _, err := js.PublishMsg(t.Context(), m); err == nil || !strings.Contains(err.Error(), "rollup not permitted") {
				t.Errorf("%s: roll-up %s: %v", bucket, rollup, err)
			}
		}
	}
	has(t, kv.Jobs(b), "another", "")
	has(t, kv.Locks(b), "another", "")
}

// Operators look into the ledger with the tools of NATS.
func TestBucketsAreBucketsToOthers(t *testing.T) {
	o := bustest.Embedded(t)
	jobs := kv.Jobs(bustest.Provisioned(t, o))
	_, js := bustest.Operator(t, o)
	kv, err := js.KeyValue(t.Context(), events.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	revision := put(t, jobs, "ours", "1", 0)
	put(t, jobs, "removed", "1", 0)
	if err := jobs.Delete(t.Context(), "removed"); err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "ours"); err != nil || string(e.Value()) != "1" || e.Revision() != revision {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := kv.Get(t.Context(), "removed"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a deleted key: %v", err)
	}
	if keys, err := kv.Keys(t.Context()); err != nil || len(keys) != 1 || keys[0] != "ours" {
		t.Errorf("keys %q, %v", keys, err)
	}

	if _, err := kv.PutString(t.Context(), "theirs", "2"); err != nil {
		t.Fatal(err)
	}
	has(t, jobs, "theirs", "2")
	if err := kv.Delete(t.Context(), "theirs"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := jobs.Get(t.Context(), "theirs"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a key that they deleted: %v", err)
	}
	put(t, jobs, "theirs", "3", 0)
}

func TestBucketsNeedNoConsumer(t *testing.T) {
	o := bustest.Embedded(t)
	jobs := kv.Jobs(bustest.Provisioned(t, o))
	bustest.NeedsNoConsumer(t, o)
	put(t, jobs, "key", "1", 0)
	has(t, jobs, "key", "1")
	for e, err := range jobs.List(t.Context(), ">") {
		if err != nil || e.Key != "key" {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if err := jobs.Delete(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
}

func TestBucketOutlastsTheServer(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	jobs := kv.Jobs(bustest.Provisioned(t, o))
	revision := put(t, jobs, "key", "1", 0)
	meanwhile := func(end func(), do func()) {
		end()
		var doing sync.WaitGroup
		doing.Go(do)
		time.Sleep(500 * time.Millisecond) // what is done fails at least once
		p.Start()
		doing.Wait()
	}
	meanwhile(p.Stop, func() { has(t, jobs, "key", "1") })
	meanwhile(p.Kill, func() {
		if _, err := jobs.Put(bustest.Within(t, bustest.Patience), "key", []byte("2"), revision, 0); err != nil {
			t.Error(err)
		}
	})
	has(t, jobs, "key", "2")
}

// The server has stored the write, but its answer was lost with the connection.
func TestBucketWriteWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	o := bustest.Embedded(t)
	there := kv.Jobs(bustest.Provisioned(t, o))
	for name, expected := range map[string]uint64{"created": 0, "changed": put(t, there, "changed", "0", 0)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := lossy(t, o, func() bool {
				v, _, err := there.Get(t.Context(), name)
				return err == nil && string(v) == "ours"
			})
			revision := put(t, here, name, "ours", expected)
			if _, now, err := there.Get(t.Context(), name); err != nil || now != revision {
				t.Errorf("revision %d is reported, %d is there (%v)", revision, now, err)
			}
		})
	}
	t.Run("overwritten since", func(t *testing.T) {
		t.Parallel()
		here := lossy(t, o, func() bool {
			_, revision, err := there.Get(t.Context(), "fought")
			if err == nil {
				_, err = there.Put(t.Context(), "fought", []byte("theirs"), revision, 0)
			}
			return err == nil
		})
		if _, err := here.Put(bustest.Within(t, bustest.Patience), "fought", []byte("ours"), 0, 0); !errors.Is(err, ledger.ErrConflict) {
			t.Errorf("%v", err)
		}
		has(t, there, "fought", "theirs")
	})
	t.Run("deleted, and made anew since", func(t *testing.T) {
		t.Parallel()
		put(t, there, "freed", "ours", 0)
		here := lossy(t, o, func() bool {
			_, err := there.Put(t.Context(), "freed", []byte("theirs"), 0, 0) // only when it is gone
			return err == nil
		})
		if err := here.Delete(bustest.Within(t, bustest.Patience), "freed"); err != nil {
			t.Fatal(err)
		}
		has(t, there, "freed", "theirs")
	})
}

func TestClusteredBucketIsAStore(t *testing.T) {
	t.Parallel()
	c := bustest.Cluster(t, 3)
	b := bustest.Connect(t, bus.Options{URL: c.URL, User: c.User, Password: c.Password})
	if _, err := provision.Run(bustest.Within(t, time.Minute), b, provision.Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	t.Run("store", func(t *testing.T) {
		ledgertest.Run(t, func(*testing.T) ledger.Store { return kv.Jobs(b) })
	})
	revision := put(t, kv.Jobs(b), "key", "1", 0)
	c.Nodes[c.Leader("KV_HOLDFAST_JOBS")].Kill()
	put(t, kv.Jobs(b), "key", "2", revision)
	has(t, kv.Jobs(b), "key", "2")
}
