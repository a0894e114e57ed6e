// Package events is Holdfast's public contract in Go: the types, payloads,
// subjects and identities of the CloudEvents that ask for work and report it,
// their binding to NATS messages, and the validation that every request passes
// before it is decoded.
//
// Names in this package are stable: an event type that has a version in its
// name never changes its meaning. Members may be added to a result; a reader
// ignores members it does not know. A request with a member that this version
// does not know is refused.
package events

import (
	"slices"
	"strings"
)

// Kind is what a request asks for. It stands in the request's type and in the
// subject that the request is published on, and both must agree.
type Kind string

// The kinds of request.
const (
	Backup  Kind = "backup"
	Restore Kind = "restore"
	Verify  Kind = "verify"
	Prune   Kind = "prune"
	Copy    Kind = "copy"
	Cancel  Kind = "cancel"
)

// Kinds lists every kind of request, in the order of the contract.
var Kinds = []Kind{Backup, Restore, Verify, Prune, Copy, Cancel}

// Types of the events that belong to no kind. The others come from
// [Kind.RequestType] and [Kind.ResultType].
const (
	TypePrefix = "io.holdfast."

	TypeRequestRejected = "io.holdfast.request.rejected.v1"
	TypeRequestUnserved = "io.holdfast.request.unserved.v1"
)

// Result is what an event says of a job, whatever the job's kind.
type Result string

// The results, in the order of a job's life.
const (
	ResultAccepted      Result = "accepted"
	ResultProgress      Result = "progress"
	ResultItemCompleted Result = "item.completed"
	ResultItemFailed    Result = "item.failed"
	ResultCompleted     Result = "completed"
	ResultFailed        Result = "failed"
	ResultPlanned       Result = "planned"
)

const typeVersion = ".v1"

// RequestType returns the CloudEvents type of a request of this kind, such as
// io.holdfast.backup.requested.v1.
func (k Kind) RequestType() string { return TypePrefix + string(k) + ".requested" + typeVersion }

// ResultType returns the CloudEvents type of a result of a job of this kind, such as
// io.holdfast.backup.item.completed.v1.
func (k Kind) ResultType(r Result) string {
	return TypePrefix + string(k) + "." + string(r) + typeVersion
}

// ResultOf returns what an event of this type says of its job; empty if it is no
// result of a job.
func ResultOf(eventType string) Result {
	kind, result, _ := strings.Cut(Short(eventType), ".")
	r := Result(result)
	if Kind(kind).ResultType(r) != eventType || !slices.Contains(Kinds, Kind(kind)) {
		return ""
	}
	switch r {
	case ResultAccepted, ResultProgress, ResultItemCompleted, ResultItemFailed, ResultCompleted, ResultFailed, ResultPlanned:
		return r
	}
	return ""
}

// KindOf returns the kind of the job that an event of this type is a result of; empty if
// it is no result of a job.
func KindOf(eventType string) Kind {
	if ResultOf(eventType) == "" {
		return ""
	}
	kind, _, _ := strings.Cut(Short(eventType), ".")
	return Kind(kind)
}

// Short returns an event type without its prefix and version, as it stands at
// the end of an event's subject: backup.item.completed.
func Short(eventType string) string {
	return strings.TrimSuffix(strings.TrimPrefix(eventType, TypePrefix), typeVersion)
}

// Terminal reports whether an event of this type ends its job. Exactly one
// terminal event id exists for each job.
func Terminal(eventType string) bool {
	switch ResultOf(eventType) {
	case ResultCompleted, ResultFailed, ResultPlanned:
		return true
	default:
		return eventType == TypeRequestRejected
	}
}

// Names of the CloudEvents extensions that Holdfast reads or writes.
const (
	// ExtJobID is the id of the job that a result belongs to.
	ExtJobID = "jobid"
	// ExtCorrelationID is the request's own correlation id, or else its id.
	ExtCorrelationID = "correlationid"
	// ExtCausationID is the id of the request that caused a result.
	ExtCausationID = "causationid"
	// ExtTraceParent is the W3C trace context, copied from the request.
	ExtTraceParent = "traceparent"
	// ExtExpiryTime is the RFC 3339 time after which a request is refused.
	ExtExpiryTime = "expirytime"
)

// MaxIDBytes is the greatest length of an event's id, source and correlation
// id, in bytes.
const MaxIDBytes = 1024
