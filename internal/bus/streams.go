package bus

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
)

// streams returns the streams of the contract. Each has a bound on its bytes, or
// one of them could fill the disk of all; together they reserve 1 GiB.
func streams(replicas int) []streamConfig {
	all := []streamConfig{
		{
			Name: events.StreamRequests,
			// The kinds are listed, so that nothing acknowledges a misspelt one.
			Subjects:   append(kinds(hostSubject("*")), kinds(events.AnySubject)...),
			Retention:  jetstream.WorkQueuePolicy,
			MaxMsgs:    100_000,
			MaxBytes:   256 * mib,
			MaxMsgSize: maxRequestBytes,
			Discard:    jetstream.DiscardNew,
			Duplicates: eventWindow,
		},
		{
			Name:       events.StreamBroadcast,
			Subjects:   kinds(events.AllSubject),
			MaxAge:     day,
			MaxMsgs:    100_000,
			MaxBytes:   64 * mib,
			MaxMsgSize: maxRequestBytes,
			Discard:    jetstream.DiscardOld,
			Duplicates: eventWindow,
		},
		{
			Name:       events.StreamEvents,
			Subjects:   []string{"holdfast.evt.>"},
			MaxAge:     30 * day,
			MaxMsgs:    -1,
			MaxBytes:   512 * mib,
			MaxMsgSize: -1,
			Discard:    jetstream.DiscardOld,
			Duplicates: eventWindow,
		},
		{
			Name:       events.StreamDLQ,
			Subjects:   []string{events.DeadLetterSubject("*")},
			MaxAge:     30 * day,
			MaxMsgs:    -1,
			MaxBytes:   64 * mib,
			MaxMsgSize: -1,
			Discard:    jetstream.DiscardOld,
			Duplicates: letterWindow,
		},
	}
	for i := range all {
		all[i].Storage = jetstream.FileStorage
		all[i].Replicas = replicas
	}
	return all
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

// buckets returns the streams behind the key-value buckets of the contract. Keys
// can have their own time to live in both. They take no roll-ups: a message that
// asks for one would wipe all keys, also those that its sender may not write.
func buckets(replicas int) []streamConfig {
	all := []streamConfig{
		{Name: "KV_" + events.BucketJobs, MaxBytes: 128 * mib},
		{Name: "KV_" + events.BucketLocks, MaxBytes: mib, MaxAge: 10 * time.Second},
	}
	for i := range all {
		c := &all[i]
		c.Subjects = []string{"$KV." + strings.TrimPrefix(c.Name, "KV_") + ".>"}
		c.MaxMsgs, c.MaxMsgSize, c.MaxMsgsPerSubject = -1, -1, 1
		c.Discard, c.DenyDelete = jetstream.DiscardNew, true
		c.AllowMsgTTL = true
		c.Duplicates = eventWindow
		if c.MaxAge > 0 {
			c.Duplicates = c.MaxAge
		}
		c.Storage, c.Replicas = jetstream.FileStorage, replicas
	}
	return all
}
