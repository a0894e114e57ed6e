package provision

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

type (
	streamConfig   = jetstream.StreamConfig
	consumerConfig = jetstream.ConsumerConfig
)

// Setting is one setting that differs.
type Setting struct {
	Name, Have, Want string
}

func (s Setting) String() string { return fmt.Sprintf("%s is %s, not %s", s.Name, s.Have, s.Want) }

// field is a setting of a configuration. What is in no field is the operators'
// own: it is neither compared nor changed.
type field[C any] struct {
	name string
	show func(C) string
	copy func(to *C, from C)
	// fits accepts values that differ; nil accepts none.
	fits func(have, want C) bool
}

// diff returns the settings that differ, and have with those of want.
func diff[C any](fields []field[C], have, want C) (differing []Setting, merged C) {
	merged = have
	for _, f := range fields {
		if f.show(have) == f.show(want) || f.fits != nil && f.fits(have, want) {
			continue
		}
		differing = append(differing, Setting{f.name, f.show(have), f.show(want)})
		f.copy(&merged, want)
	}
	return differing, merged
}

// setting returns the field that at points to.
func setting[C, V any](name string, at func(*C) *V, show func(V) string) field[C] {
	return field[C]{
		name: name,
		show: func(c C) string { return show(*at(&c)) },
		copy: func(to *C, from C) { *at(to) = *at(&from) },
	}
}

func plain[V any](v V) string { return fmt.Sprint(v) }

func limit[V int | int32 | int64](v V) string {
	if v <= 0 {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func sorted(subjects []string) string {
	return strings.Join(slices.Sorted(slices.Values(subjects)), ", ")
}

// storageFields are the settings of every stream.
var storageFields = []field[streamConfig]{
	bytesField(),
	setting("max_age", func(c *streamConfig) *time.Duration { return &c.MaxAge }, plain),
	setting("storage", func(c *streamConfig) *jetstream.StorageType { return &c.Storage }, plain),
	replicasField(),
}

var streamFields = append([]field[streamConfig]{
	setting("subjects", func(c *streamConfig) *[]string { return &c.Subjects }, sorted),
	setting("retention", func(c *streamConfig) *jetstream.RetentionPolicy { return &c.Retention }, plain),
	setting("discard", func(c *streamConfig) *jetstream.DiscardPolicy { return &c.Discard }, plain),
	setting("max_msgs", func(c *streamConfig) *int64 { return &c.MaxMsgs }, limit),
	setting("max_msg_size", func(c *streamConfig) *int32 { return &c.MaxMsgSize }, limit),
	consumersField(),
	setting("allow_direct", func(c *streamConfig) *bool { return &c.AllowDirect }, plain),
	sourcesField(),
	setting("duplicate_window", func(c *streamConfig) *time.Duration { return &c.Duplicates }, plain),
}, storageFields...)

var bucketFields = append([]field[streamConfig]{
	setting("subjects", func(c *streamConfig) *[]string { return &c.Subjects }, sorted),
	setting("discard", func(c *streamConfig) *jetstream.DiscardPolicy { return &c.Discard }, plain),
	setting("max_msgs_per_subject", func(c *streamConfig) *int64 { return &c.MaxMsgsPerSubject }, limit),
	setting("allow_msg_ttl", func(c *streamConfig) *bool { return &c.AllowMsgTTL }, plain),
	setting("allow_direct", func(c *streamConfig) *bool { return &c.AllowDirect }, plain),
	setting("allow_rollup_hdrs", func(c *streamConfig) *bool { return &c.AllowRollup }, plain),
	// With markers the server allows roll-ups, whatever the setting says.
	setting("subject_delete_marker_ttl", func(c *streamConfig) *time.Duration { return &c.SubjectDeleteMarkerTTL }, plain),
	setting("deny_delete", func(c *streamConfig) *bool { return &c.DenyDelete }, plain),
}, storageFields...)

var consumerFields = []field[consumerConfig]{
	setting("filter_subjects", func(c *consumerConfig) *[]string { return &c.FilterSubjects }, sorted),
	setting("deliver_policy", func(c *consumerConfig) *jetstream.DeliverPolicy { return &c.DeliverPolicy }, plain),
	setting("ack_policy", func(c *consumerConfig) *jetstream.AckPolicy { return &c.AckPolicy }, plain),
	setting("ack_wait", func(c *consumerConfig) *time.Duration { return &c.AckWait }, plain),
	setting("max_deliver", func(c *consumerConfig) *int { return &c.MaxDeliver }, limit),
	setting("backoff", func(c *consumerConfig) *[]time.Duration { return &c.BackOff }, plain),
	setting("max_waiting", func(c *consumerConfig) *int { return &c.MaxWaiting }, limit),
	setting("max_ack_pending", func(c *consumerConfig) *int { return &c.MaxAckPending }, limit),
	setting("inactive_threshold", func(c *consumerConfig) *time.Duration { return &c.InactiveThreshold }, plain),
}

// smallestShare is the divisor of the least bytes that a stream is given.
const smallestShare = 16

// bytesField accepts any bound that is not below the least: the size is a matter
// of the server's disk.
func bytesField() field[streamConfig] {
	f := setting("max_bytes", func(c *streamConfig) *int64 { return &c.MaxBytes }, limit)
	f.fits = func(have, want streamConfig) bool { return have.MaxBytes >= want.MaxBytes/smallestShare }
	return f
}

// consumersField accepts room for more consumers than are needed.
func consumersField() field[streamConfig] {
	f := setting("max_consumers", func(c *streamConfig) *int { return &c.MaxConsumers }, limit)
	f.fits = func(have, want streamConfig) bool { return have.MaxConsumers >= want.MaxConsumers }
	return f
}

// sourcesField accepts other sources beside those that are needed.
func sourcesField() field[streamConfig] {
	show := func(sources []*jetstream.StreamSource) string {
		var all []string
		for _, s := range sources {
			all = append(all, s.Name+" "+s.FilterSubject)
		}
		return cmp.Or(sorted(all), "none")
	}
	f := setting("sources", func(c *streamConfig) *[]*jetstream.StreamSource { return &c.Sources }, show)
	has := func(all []*jetstream.StreamSource, one *jetstream.StreamSource) bool {
		return slices.ContainsFunc(all, func(s *jetstream.StreamSource) bool {
			return s.Name == one.Name && s.FilterSubject == one.FilterSubject
		})
	}
	f.fits = func(have, want streamConfig) bool {
		return !slices.ContainsFunc(want.Sources, func(s *jetstream.StreamSource) bool { return !has(have.Sources, s) })
	}
	f.copy = func(to *streamConfig, from streamConfig) {
		to.Sources = append(slices.Clone(to.Sources), from.Sources...)
	}
	return f
}

// replicasField compares the number of replicas only where one is asked for.
func replicasField() field[streamConfig] {
	f := setting("num_replicas", func(c *streamConfig) *int { return &c.Replicas }, plain)
	f.fits = func(_, want streamConfig) bool { return want.Replicas == 0 }
	return f
}

// normal returns a consumer's configuration with its filters in one place.
func normal(c consumerConfig) consumerConfig {
	if c.FilterSubject != "" {
		c.FilterSubjects = []string{c.FilterSubject}
		c.FilterSubject = ""
	}
	return c
}
