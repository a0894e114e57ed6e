package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"holdfast.io/holdfast/schemas"
)

// InvalidError says what is wrong with a request's data.
type InvalidError struct {
	// Reason is ReasonInvalid, or ReasonUnsupported if all that is wrong is that
	// this version does not have something yet.
	Reason     Reason
	Violations []Violation
}

func (e *InvalidError) Error() string {
	var parts []string
	for _, v := range e.Violations {
		parts = append(parts, strings.TrimSpace(v.Pointer+" "+v.Message))
	}
	return strings.Join(parts, "; ")
}

// ParseBackupRequest reads the data of a backup request. It is held against the
// schema first, on the raw bytes: Go's decoder would take members of another
// case, and the last of two. An error is an *InvalidError.
func ParseBackupRequest(raw []byte) (*BackupRequest, error) {
	var r BackupRequest
	if err := parse(Backup.RequestType(), raw, &r); err != nil {
		return nil, err
	}
	var bad []Violation
	if c := r.Containers; c != nil {
		bad = append(bad, badExpressions("/containers/match", c.Match)...)
		bad = append(bad, badExpressions("/containers/exclude", c.Exclude)...)
	}
	if i := r.Images; i != nil {
		bad = append(bad, badExpressions("/images/match", i.Match)...)
		bad = append(bad, badExpressions("/images/exclude", i.Exclude)...)
	}
	if r.Timeout != "" {
		if d, err := time.ParseDuration(r.Timeout); err != nil || d <= 0 {
			bad = append(bad, Violation{Pointer: "/timeout", Message: fmt.Sprintf("%q is not a duration above zero, such as 30m", r.Timeout)})
		}
	}
	if len(bad) > 0 {
		return nil, &InvalidError{Reason: ReasonInvalid, Violations: bad}
	}
	return &r, nil
}

// ParseCancelRequest reads the data of a cancel request. An error is an
// *InvalidError.
func ParseCancelRequest(raw []byte) (*CancelRequest, error) {
	var r CancelRequest
	if err := parse(Cancel.RequestType(), raw, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

func parse(schema string, raw []byte, into any) error {
	err := schemas.Validate(schema, raw)
	if bad, ok := errors.AsType[*schemas.Error](err); ok {
		return invalid(*bad)
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return &InvalidError{Reason: ReasonInvalid, Violations: []Violation{{Message: err.Error()}}}
	}
	return nil
}

func invalid(bad schemas.Error) *InvalidError {
	e := &InvalidError{Reason: ReasonUnsupported}
	for _, v := range bad {
		if !v.Unsupported {
			e.Reason = ReasonInvalid
		}
		e.Violations = append(e.Violations, Violation{Pointer: v.Pointer, Message: v.Message})
	}
	return e
}

func badExpressions(pointer string, patterns []string) []Violation {
	var bad []Violation
	for i, p := range patterns {
		if _, err := regexp.Compile(p); err != nil {
			bad = append(bad, Violation{Pointer: fmt.Sprintf("%s/%d", pointer, i), Message: err.Error()})
		}
	}
	return bad
}
