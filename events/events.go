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

import "strings"

// Kind is what a request asks for. It stands in the request's type and in the
// subject that the request is published on, and both must agree.
type Kind string

// The kinds of request.
const (
	Backup  Kind = "backup"
	Restore Kind = "restore"
	Verify  Kind = "verify"
	Prune   Kind = "prune"
	Cancel  Kind = "cancel"
)

// Kinds lists every kind of request, in the order of the contract.
var Kinds = []Kind{Backup, Restore, Verify, Prune, Cancel}

// Types of the events. The types of requests come from [Kind.RequestType].
const (
	TypePrefix = "io.holdfast."

	TypeRequestRejected     = "io.holdfast.request.rejected.v1"
	TypeRequestUnserved     = "io.holdfast.request.unserved.v1"
	TypeBackupAccepted      = "io.holdfast.backup.accepted.v1"
	TypeBackupProgress      = "io.holdfast.backup.progress.v1"
	TypeBackupItemCompleted = "io.holdfast.backup.item.completed.v1"
	TypeBackupItemFailed    = "io.holdfast.backup.item.failed.v1"
	TypeBackupCompleted     = "io.holdfast.backup.completed.v1"
	TypeBackupFailed        = "io.holdfast.backup.failed.v1"
	TypeBackupPlanned       = "io.holdfast.backup.planned.v1"
)

// RequestType returns the CloudEvents type of a request of this kind, such as
// io.holdfast.backup.requested.v1.
func (k Kind) RequestType() string { return TypePrefix + string(k) + ".requested.v1" }

// Short returns an event type without its prefix and version, as it stands at
// the end of an event's subject: backup.item.completed.
func Short(eventType string) string {
	return strings.TrimSuffix(strings.TrimPrefix(eventType, TypePrefix), ".v1")
}

// Terminal reports whether an event of this type ends its job. Exactly one
// terminal event id exists for each job.
func Terminal(eventType string) bool {
	switch eventType {
	case TypeRequestRejected, TypeBackupCompleted, TypeBackupFailed, TypeBackupPlanned:
		return true
	}
	return false
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
