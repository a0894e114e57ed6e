package events

import (
	"fmt"
	"slices"
	"strings"
)

// Names of the streams and buckets on the NATS server.
const (
	StreamRequests  = "HOLDFAST_REQUESTS"
	StreamBroadcast = "HOLDFAST_BROADCAST"
	StreamEvents    = "HOLDFAST_EVENTS"
	StreamDLQ       = "HOLDFAST_DLQ"
	BucketJobs      = "HOLDFAST_JOBS"
	BucketLocks     = "HOLDFAST_LOCKS"
)

// Target is whom a request is sent to.
type Target string

// The targets of a request.
const (
	TargetHost Target = "host"
	TargetAll  Target = "all"
	TargetAny  Target = "any"
)

const requestPrefix = "holdfast.req."

// HostSubject is where a request of this kind to one host is published. The
// host is its id, see [HostID].
func HostSubject(k Kind, host string) string {
	return requestPrefix + string(k) + ".host." + host
}

// AllSubject is where a request of this kind to all hosts is published.
func AllSubject(k Kind) string { return requestPrefix + string(k) + ".all" }

// AnySubject is where a request of this kind to any one host is published.
func AnySubject(k Kind) string { return requestPrefix + string(k) + ".any" }

// EventSubject is where a job's event of this type is published.
func EventSubject(host, job, eventType string) string {
	return "holdfast.evt." + host + "." + job + "." + Short(eventType)
}

// ProgressSubject is where a job's progress is published, on core NATS.
func ProgressSubject(host, job string) string { return "holdfast.progress." + host + "." + job }

// StatusSubject is where the workers of a host are asked how they are, on core
// NATS.
func StatusSubject(host string) string { return "holdfast.status." + host }

// DeadLetterSubject is where a host's dead letters are published.
func DeadLetterSubject(host string) string { return "holdfast.dlq." + host }

// ParseRequestSubject returns the kind and the target of a request's subject.
func ParseRequestSubject(subject string) (Kind, Target, error) {
	parts := strings.Split(strings.TrimPrefix(subject, requestPrefix), ".")
	kind := Kind(parts[0])
	switch {
	case !strings.HasPrefix(subject, requestPrefix) || !slices.Contains(Kinds, kind):
	case len(parts) == 2 && parts[1] == string(TargetAll):
		return kind, TargetAll, nil
	case len(parts) == 2 && parts[1] == string(TargetAny):
		return kind, TargetAny, nil
	case len(parts) == 3 && parts[1] == string(TargetHost) && ValidHostID(parts[2]):
		return kind, TargetHost, nil
	}
	return "", "", fmt.Errorf("%q is not a subject for requests", subject)
}

// MayGo reports whether requests of this kind may be sent to this target.
func MayGo(k Kind, t Target) bool {
	switch t {
	case TargetHost:
		return slices.Contains(Kinds, k)
	case TargetAll:
		return k == Backup || k == Cancel
	case TargetAny:
		return k == Verify || k == Prune || k == Copy
	}
	return false
}
