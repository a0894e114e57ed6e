package provision_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/kv"
	"holdfast.io/holdfast/internal/bus/provision"
)

func TestProvisionMakesEverythingOnce(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Connect(t, o)
		_, js := bustest.Operator(t, o)
		hosts := []string{"web01", "db_2E01"}

		expected, err := provision.Check(t.Context(), b, hosts)
		if err != nil {
			t.Fatal(err)
		}
		made, err := provision.Run(t.Context(), b, provision.Options{Hosts: hosts})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(names(expected), names(made)) || len(made) != 4+2+1+2*4 {
			t.Errorf("check: %v\nmade: %v", names(expected), names(made))
		}
		for range 2 {
			again, err := provision.Run(t.Context(), b, provision.Options{Hosts: hosts, Update: true})
			if err != nil || len(again) != 0 {
				t.Errorf("the second time: %+v, %v", again, err)
			}
		}
		for _, durable := range []string{"any", "host_web01", "cancel_web01", "host_db_2E01"} {
			if _, err := js.Consumer(t.Context(), events.StreamRequests, durable); err != nil {
				t.Errorf("%s: %v", durable, err)
			}
		}
		for _, bucket := range []string{events.BucketJobs, events.BucketLocks} {
			kv, err := js.KeyValue(t.Context(), bucket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.Create(t.Context(), "key", nil, jetstream.KeyTTL(2e9)); err != nil {
				t.Errorf("%s: a key with its own time to live: %v", bucket, err)
			}
		}
	})
}

func TestManyHostsEnrolAtOnce(t *testing.T) {
	_, o := bustest.External(t) // the server's own code has a data race there
	hosts := []string{"a", "b", "c", "d", "e", "f"}
	var enrolling sync.WaitGroup
	for _, host := range hosts {
		b := bustest.Connect(t, o)
		enrolling.Go(func() {
			if _, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{host}}); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	enrolling.Wait()
	if left, err := provision.Check(t.Context(), bustest.Connect(t, o), hosts); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// A host takes two consumers of a stream, and the server's own limit is 1000.
func TestProvisionEnrolsALargeFleet(t *testing.T) {
	_, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	const hosts = 620
	for i := range hosts {
		for _, kind := range []events.Kind{events.Backup, events.Cancel} {
			name := fmt.Sprintf("h%03d", i)
			c := jetstream.ConsumerConfig{
				Durable: string(kind) + "_" + name, FilterSubject: events.HostSubject(kind, name), AckPolicy: jetstream.AckExplicitPolicy,
				MemoryStorage: true, // that is cheap
			}
			if _, err := js.CreateConsumer(t.Context(), events.StreamRequests, c); err != nil {
				t.Fatalf("host %d: %v", i, err)
			}
			c.FilterSubject = events.AllSubject(kind)
			if _, err := js.CreateConsumer(t.Context(), events.StreamBroadcast, c); err != nil {
				t.Fatalf("host %d: %v", i, err)
			}
		}
	}
	if _, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{"one-more"}}); err != nil {
		t.Error(err)
	}
}

func TestProvisionLeavesAloneWhatDiffers(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	stream, err := js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs = 7
	config.MaxConsumers = -1 // which is 1000
	config.Discard = jetstream.DiscardOld
	config.MaxBytes = 20 << 20 // the operators' business
	config.Description = "kept"
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	bustest.SetAckWait(t, js, events.StreamRequests, "host_web01", 5e9)

	want := []provision.Change{
		{Kind: "stream", Name: events.StreamRequests, Action: provision.Keep, Settings: []provision.Setting{
			{Name: "discard", Have: "DiscardOld", Want: "DiscardNew"},
			{Name: "max_msgs", Have: "7", Want: "100000"},
			{Name: "max_consumers", Have: "unlimited", Want: "20001"},
		}},
		{Kind: "consumer", Name: events.StreamRequests + "/host_web01", Action: provision.Keep, Settings: []provision.Setting{
			{Name: "ack_wait", Have: "5s", Want: "1m0s"},
		}},
	}
	for range 2 {
		got, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{host}})
		if err != nil {
			t.Fatal(err)
		}
		equalChanges(t, got, want)
	}

	for i := range want {
		want[i].Action = provision.Update
	}
	got, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{host}, Update: true})
	if err != nil {
		t.Fatal(err)
	}
	equalChanges(t, got, want)
	if got, err := provision.Check(t.Context(), b, []string{host}); err != nil || len(got) != 0 {
		t.Errorf("after the update: %+v, %v", got, err)
	}
	if stream, err = js.Stream(t.Context(), events.StreamRequests); err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.Description != "kept" || c.MaxBytes != 20<<20 {
		t.Errorf("the update took the operators' own settings: %+v", c)
	}
}

func TestProvisionFitsASmallDisk(t *testing.T) {
	for _, test := range []struct {
		name string
		room int64
		ok   bool
	}{
		{"half", 512 << 20, true},
		{"least", 100 << 20, true},
		{"too little", 10 << 20, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, o := bustest.External(t, bustest.Config{MaxStore: test.room})
			b := bustest.Connect(t, o)
			made, err := provision.Run(t.Context(), b, provision.Options{})
			if test.ok != (err == nil) {
				t.Fatalf("%v, %v", names(made), err)
			}
			if !test.ok {
				t.Log(err)
				return
			}
			if again, err := provision.Check(t.Context(), b, nil); err != nil || len(again) != 0 {
				t.Errorf("smaller streams are reported: %+v, %v", again, err)
			}
		})
	}
}

func TestProvisionRefusesAHostThatIsNoID(t *testing.T) {
	b := bustest.Connect(t, bustest.Embedded(t))
	for _, host := range []string{"", "*", "web.01", ">"} {
		if made, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{host}}); err == nil || len(made) > 0 {
			t.Errorf("%q: %v, %v", host, made, err)
		}
	}
}

func TestHostServed(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Connect(t, o)
	if _, err := fleet.Of(b).IsEnrolled(t.Context(), host); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("before provisioning: %v", err)
	}
	b = bustest.Provisioned(t, o)
	for name, want := range map[string]bool{host: true, "web02": false} {
		if got, err := fleet.Of(b).IsEnrolled(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func names(changes []provision.Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, string(c.Action)+" "+c.Kind+" "+c.Name)
	}
	return all
}

func equalChanges(t *testing.T, got, want []provision.Change) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b provision.Change) bool {
		return a.Kind == b.Kind && a.Name == b.Name && a.Action == b.Action && slices.Equal(a.Settings, b.Settings)
	}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Buckets were made with roll-ups and markers before.
func TestProvisionRepairsAnOlderBucket(t *testing.T) {
	o := bustest.Embedded(t)
	_, js := bustest.Operator(t, o)
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: events.BucketJobs, MaxBytes: 128 << 20, LimitMarkerTTL: time.Minute, Storage: jetstream.FileStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := bustest.Connect(t, o)
	if _, err := provision.Run(t.Context(), b, provision.Options{}); err != nil {
		t.Fatal(err)
	}
	revision := put(t, kv.Jobs(b), "kept", 0)
	want := []provision.Change{{Kind: "bucket", Name: events.BucketJobs, Action: provision.Update, Settings: []provision.Setting{
		{Name: "allow_rollup_hdrs", Have: "true", Want: "false"},
		{Name: "subject_delete_marker_ttl", Have: "1m0s", Want: "0s"},
	}}}
	got, err := provision.Run(t.Context(), b, provision.Options{Update: true})
	if err != nil {
		t.Fatal(err)
	}
	equalChanges(t, got, want)
	if left, err := provision.Check(t.Context(), b, nil); err != nil || len(left) != 0 {
		t.Errorf("after the update: %+v, %v", left, err)
	}
	m := &nats.Msg{Subject: "$KV.HOLDFAST_JOBS.mine", Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupAll}}}
	if _, err := js.PublishMsg(t.Context(), m); err == nil {
		t.Error("the bucket can be rolled up still")
	}
	put(t, kv.Jobs(b), "changed", revision)
}

// put writes a key that must be written.
func put(t *testing.T, s *kv.Bucket, value string, expected uint64) uint64 {
	t.Helper()
	revision, err := s.Put(t.Context(), "key", []byte(value), expected, 0)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}
