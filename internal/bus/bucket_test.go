package bus_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestBucketIsALedgerStore(t *testing.T) {
	onBoth(t, func(t *testing.T, o bus.Options) {
		b := provisioned(t, o)
		ledgertest.Run(t, func(t *testing.T) ledger.Store { return b.Jobs() })
	})
}

// A roll-up is a message that wipes others: from whoever may write one key, all
// keys of everybody.
func TestBucketsTakeNoRollUps(t *testing.T) {
	onBoth(t, func(t *testing.T, o bus.Options) {
		provisioned(t, o)
		_, js := operator(t, o)
		m := &nats.Msg{Subject: "$KV." + events.BucketJobs + ".a.b", Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupAll}}}
		if _, err := js.PublishMsg(t.Context(), m); err == nil {
			t.Error("a roll-up was taken")
		}
	})
}

func TestProvisionMendsABucketThatTakesRollUps(t *testing.T) {
	onBoth(t, func(t *testing.T, o bus.Options) {
		b := connect(t, o)
		_, js := operator(t, o)
		for _, name := range []string{events.BucketJobs, events.BucketLocks} {
			if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name, MaxBytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Provision(t.Context(), bus.ProvisionOptions{Update: true}); err != nil {
			t.Fatal(err)
		}
		if left, err := b.Check(t.Context(), nil); err != nil || len(left) > 0 {
			t.Errorf("after the update: %v, %v", left, err)
		}
	})
}
