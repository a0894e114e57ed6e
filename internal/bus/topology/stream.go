// Package topology describes the streams, buckets and consumers of the contract, as
// data: others make them, and use them.
package topology

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

const (
	mib = 1 << 20
	day = 24 * time.Hour

	// maxRequestBytes leaves room below the server's default payload of 1 MiB to
	// copy a request with more headers.
	maxRequestBytes = 256 << 10
	// eventWindow is short, since a request that comes again after its job ended
	// must have the job's events published again.
	eventWindow  = 2 * time.Minute
	letterWindow = time.Hour
	// maxConsumers is room for a host's two consumers, and the shared one. Without
	// a number the server's own limit holds, which is 1000; -1 does not lift it.
	maxConsumers = 2*MaxFleet + 1
)

// Streams returns the streams of the contract, sources first. Each has a bound on its bytes, or
// one of them could fill the disk of all; together they reserve 1 GiB.
func Streams(replicas int) []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{
		{
			Name:        events.StreamEvents,
			Subjects:    []string{"holdfast.evt.>"},
			MaxAge:      30 * day,
			MaxMsgs:     -1,
			MaxBytes:    512 * mib,
			MaxMsgSize:  -1,
			AllowDirect: true,
			Discard:     jetstream.DiscardOld,
			Duplicates:  eventWindow,
		},
		{
			Name:        events.StreamDLQ,
			Subjects:    []string{events.DeadLetterSubject("*")},
			MaxAge:      30 * day,
			MaxMsgs:     -1,
			MaxBytes:    64 * mib,
			MaxMsgSize:  -1,
			AllowDirect: true,
			Discard:     jetstream.DiscardOld,
			Duplicates:  letterWindow,
		},
		{
			Name: events.StreamRequests,
			// The kinds are listed, so that nothing acknowledges a misspelt one.
			Subjects:     append(kinds(hostSubject("*")), kinds(events.AnySubject)...),
			Retention:    jetstream.WorkQueuePolicy,
			MaxMsgs:      100_000,
			MaxBytes:     256 * mib,
			MaxMsgSize:   maxRequestBytes,
			MaxConsumers: maxConsumers,
			Discard:      jetstream.DiscardNew,
			Sources:      withoutWindow(),
		},
		{
			Name:         events.StreamBroadcast,
			Subjects:     kinds(events.AllSubject),
			MaxAge:       day,
			MaxMsgs:      100_000,
			MaxBytes:     64 * mib,
			MaxMsgSize:   maxRequestBytes,
			MaxConsumers: maxConsumers,
			Discard:      jetstream.DiscardOld,
			Sources:      withoutWindow(),
		},
	}
	for i := range all {
		all[i].Storage = jetstream.FileStorage
		all[i].Replicas = replicas
	}
	return all
}

// withoutWindow returns what a stream needs to have no window of duplicates. The
// message id is the publisher's own, and some publishers (Dapr) give the same one
// to messages for several hosts, and to a repetition. A server takes a window of
// 0 for one of two minutes, and none below 100 ms, except in a stream that has a
// source: there 0 means none (nats-server 2.15, checkStreamCfg). So the streams of
// requests have a source, the stream of dead letters, with a filter that none of
// its subjects can match: nothing ever comes from there.
func withoutWindow() []*jetstream.StreamSource {
	return []*jetstream.StreamSource{{Name: events.StreamDLQ, FilterSubject: events.DeadLetterSubject("never.any")}}
}

// kinds returns a subject for each kind of request, but for those left out.
func kinds(subject func(events.Kind) string, but ...events.Kind) []string {
	var subjects []string
	for _, kind := range events.Kinds {
		if !slices.Contains(but, kind) {
			subjects = append(subjects, subject(kind))
		}
	}
	return subjects
}

func hostSubject(host string) func(events.Kind) string {
	return func(k events.Kind) string { return events.HostSubject(k, host) }
}

// Buckets returns the streams of the key-value buckets of the contract. They are
// buckets to any client of NATS, with one difference: roll-ups are off, since
// otherwise anyone who may write one key could delete all with one header. The
// server allows that only without markers for keys whose time to live has passed.
func Buckets(replicas int) []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{
		{Name: BucketStream(events.BucketJobs), MaxBytes: 128 * mib},
		{Name: BucketStream(events.BucketLocks), MaxBytes: mib, MaxAge: 10 * time.Second},
	}
	for i := range all {
		c := &all[i]
		c.Subjects = []string{BucketSubject(BucketName(c.Name), ">")}
		c.MaxMsgs = -1
		c.MaxMsgSize = -1
		c.MaxMsgsPerSubject = 1
		c.Discard = jetstream.DiscardNew
		c.AllowMsgTTL = true
		c.AllowDirect = true
		c.DenyDelete = true
		c.Storage = jetstream.FileStorage
		c.Replicas = replicas
	}
	return all
}

const bucketPrefix = "KV_"

// BucketStream returns the name of a bucket's stream.
func BucketStream(bucket string) string { return bucketPrefix + bucket }

// BucketName is the reverse of bucketStream.
func BucketName(stream string) string { return strings.TrimPrefix(stream, bucketPrefix) }

// BucketSubject returns the subject of a key in a bucket.
func BucketSubject(bucket, key string) string { return "$KV." + bucket + "." + key }
