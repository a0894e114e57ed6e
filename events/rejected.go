package events

import "time"

// RequestRejected is the data of io.holdfast.request.rejected.v1.
type RequestRejected struct {
	Host string `json:"host"`
	// Job is the id that the job would have had.
	Job string `json:"job"`
	// Type is the type of the request; empty if it could not be read.
	Type          string      `json:"type"`
	Reason        Reason      `json:"reason"`
	Errors        []Violation `json:"errors"`
	ErrorsOmitted int         `json:"errorsOmitted,omitempty"`
}

// RequestUnserved is the data of io.holdfast.request.unserved.v1: a request
// waits for a host that no worker serves. It is not the end of the request: a
// worker of the host takes it when one is there.
type RequestUnserved struct {
	// Host is the host that the request was sent to.
	Host string `json:"host"`
	// Job is the id that the job has.
	Job string `json:"job"`
	// Subject is where the request was published.
	Subject string `json:"subject"`
	// Since is when the request was stored.
	Since time.Time `json:"since"`
	// Reporter is the host whose worker saw it.
	Reporter string `json:"reporter"`
}

// Violation is one thing that is wrong with a request.
type Violation struct {
	// Pointer is the RFC 6901 JSON Pointer to the offending member, also to one
	// that is missing. Where an attribute is wrong it begins at the event: /id,
	// /type, /expirytime; otherwise at the event's data. It is empty for the
	// whole.
	Pointer string `json:"pointer"`
	// Message says what is wrong. It follows the pointer as a predicate follows
	// its subject.
	Message string `json:"message"`
}

// DeadLetter is a message in the dead-letter stream: a request that could not
// be carried out at all, and why. It is plain JSON, not a CloudEvent.
type DeadLetter struct {
	Reason        Reason      `json:"reason"`
	Errors        []Violation `json:"errors"`
	ErrorsOmitted int         `json:"errorsOmitted,omitempty"`
	// Stream and Sequence say where the message lay, Subject where it was sent.
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"sequence"`
	Subject  string    `json:"subject"`
	Time     time.Time `json:"time"`
	// Headers are the message's own; left out if they are too large to be kept.
	Headers map[string][]string `json:"headers,omitempty"`
	// Size and Digest are of the whole body; Body is its first 64 KiB.
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
	Body   []byte `json:"body,omitempty"`
}
