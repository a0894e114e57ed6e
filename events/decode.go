package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"holdfast.io/holdfast/schemas"
	"holdfast.io/holdfast/schemas/strictjson"
)

// InvalidError says what is wrong with the data of a request.
type InvalidError struct {
	// Reason is ReasonUnsupported if all that is wrong is that this version does
	// not have something yet, and ReasonInvalid otherwise.
	Reason Reason
	// Violations are at most 50. Their pointers are into the data.
	Violations []Violation
}

func (e *InvalidError) Error() string { return list(e.Violations) }

// ParseBackupRequest reads the data of a backup request. What it accepts can be
// acted on as it is: expressions compile, and the timeout is a duration above
// zero. The text is held against the schema before it is decoded, since Go's
// decoder would take members in another letter case, and the last of two. An
// error is an *[InvalidError].
func ParseBackupRequest(raw []byte) (*BackupRequest, error) {
	var r BackupRequest
	if err := parse(Backup, raw, &r); err != nil {
		return nil, err
	}
	var e expressions
	if c := r.Containers; c != nil {
		e.check(c.Match, "containers", "match")
		e.check(c.Exclude, "containers", "exclude")
	}
	if i := r.Images; i != nil {
		e.check(i.Match, "images", "match")
		e.check(i.Exclude, "images", "exclude")
	}
	if v := r.Volumes; v != nil {
		e.check(v.Match, "volumes", "match")
		e.check(v.Exclude, "volumes", "exclude")
	}
	bad := violations(e.bad)
	bad.duration("/timeout", r.Timeout)
	if r.Sink != "" && len(r.Sinks) > 0 {
		bad.add("/sinks", "must be left out where there is a member sink, and the other way round")
	}
	return result(&r, bad)
}

// violations are what is wrong with a request that follows its schema.
type violations []Violation

func (v *violations) add(pointer, message string) {
	*v = append(*v, Violation{Pointer: pointer, Message: message})
}

// duration adds a duration that Go does not take, or that is not above zero; empty
// stands for none.
func (v *violations) duration(pointer, text string) {
	if text == "" {
		return
	}
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		v.add(pointer, "must be a duration above zero and below 292 years")
	}
}

// selectors adds the expressions of selectors that do not compile.
func (v *violations) selectors(selectors map[string]*ItemSelector) {
	var e expressions
	for name, s := range selectors {
		if s != nil {
			e.check(s.Match, name, "match")
		}
	}
	*v = append(*v, e.bad...)
}

// result returns the request, or what is wrong with it.
func result[T any](r *T, bad violations) (*T, error) {
	if len(bad) > 0 {
		return nil, &InvalidError{Reason: ReasonInvalid, Violations: atMost(bad)}
	}
	return r, nil
}

// ParseCancelRequest reads the data of a cancel request. An error is an
// *[InvalidError].
func ParseCancelRequest(raw []byte) (*CancelRequest, error) {
	var r CancelRequest
	if err := parse(Cancel, raw, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// parse holds the data of a request against its schema, and decodes it.
func parse(k Kind, raw []byte, into any) error {
	err := schemas.Validate(k.RequestType(), raw)
	if bad, ok := errors.AsType[*schemas.Error](err); ok {
		return invalid(bad.Violations)
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return &InvalidError{Reason: ReasonInvalid, Violations: []Violation{{Message: err.Error()}}}
	}
	return nil
}

func invalid(bad []schemas.Violation) *InvalidError {
	e := &InvalidError{Reason: ReasonUnsupported}
	for _, v := range bad {
		if !v.Unsupported {
			e.Reason = ReasonInvalid
		}
		e.Violations = append(e.Violations, Violation{Pointer: v.Pointer, Message: v.Message})
	}
	return e
}

// maxProgram bounds the compiled size of all expressions of a request together,
// in instructions. A few bytes such as "(abc){1000}" can stand for very many.
const maxProgram = 100_000

// expressions checks the RE2 expressions of one request.
type expressions struct {
	size int
	bad  []Violation
}

func (e *expressions) check(patterns []string, path ...string) {
	for i, p := range patterns {
		if err := e.compile(p); err != nil {
			at := strictjson.Pointer(append(path[:len(path):len(path)], strconv.Itoa(i))...)
			e.bad = append(e.bad, Violation{Pointer: at, Message: err.Error()})
		}
	}
}

func (e *expressions) compile(pattern string) error {
	tree, err := syntax.Parse(pattern, syntax.Perl) // as package regexp does
	if err != nil {
		return fmt.Errorf("is not an RE2 expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return fmt.Errorf("cannot be compiled: %w", err)
	}
	if e.size += len(program.Inst); e.size > maxProgram {
		return errors.New("makes the expressions of the request too large to be compiled")
	}
	return nil
}
