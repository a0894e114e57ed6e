package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Op is what a helper does with its folder.
type Op string

const (
	OpRead  Op = "read"  // the tree goes to out once in is at its end, see [Archive]
	OpWrite Op = "write" // the tree comes from in, see [Extract]
	OpEmpty Op = "empty" // says whether anything is there, see [IsEmpty]
	OpClear Op = "clear" // removes what is there, see [Clear]
)

// Ops are all of them.
var Ops = []Op{OpRead, OpWrite, OpEmpty, OpClear}

// Answer is what a helper says when it is done: one JSON document, and nothing else,
// on the stream that is not the archive's.
type Answer struct {
	Report Report `json:"report"`
	// Empty is the answer to OpEmpty.
	Empty bool `json:"empty,omitempty"`
	// Error is why it failed. The report is what it came to until then.
	Error *Failure `json:"error,omitempty"`
}

// Failure is an error on its way through an answer.
type Failure struct {
	Code    string `json:"code"` // one of those below
	Message string `json:"message"`
}

const (
	codeCorrupt = "corrupt"
	codeFull    = "full"
	codeFile    = "not_folder"
	codeFailed  = "failed"
)

// MaxAnswer is how long an answer is at most, in bytes.
const MaxAnswer = 256 << 10

// ErrNoAnswer: what a helper left is not an answer, as it was killed or is another program.
var ErrNoAnswer = errors.New("the helper ended without an answer")

// Serve is the program of a helper, `holdfast volume-helper OP DIR`: it does op with
// the folder dir, and says on answer what came of it. The archive goes to out
// (standard output) or comes from in (standard input), which has to end; the answer
// goes to standard error, after an empty line when a read waits for the end of in. The
// error is that of the operation, and is in the answer; the program's exit status is 0
// if there is none. A read that found something unreadable or changed is none: the
// caller decides by the report.
func Serve(ctx context.Context, op Op, dir string, in io.Reader, out, answer io.Writer) error {
	var a Answer
	var err error
	switch op {
	case OpRead:
		// The line says that it waits for the word to begin. To an answer it is white space.
		if _, err = io.WriteString(answer, "\n"); err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		if err == nil {
			a.Report, err = Archive(ctx, dir, out)
		}
	case OpWrite:
		a.Report, err = Extract(ctx, in, dir)
	case OpEmpty:
		a.Empty, err = IsEmpty(dir)
	case OpClear:
		err = Clear(ctx, dir)
	default:
		err = fmt.Errorf("there is no operation %q", op)
	}
	if err != nil {
		a.Error = &Failure{Code: codeOf(err), Message: err.Error()}
	}
	if said := json.NewEncoder(answer).Encode(a); said != nil {
		return errors.Join(err, fmt.Errorf("write the answer: %w", said))
	}
	return err
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, ErrCorrupt):
		return codeCorrupt
	case errors.Is(err, ErrFull):
		return codeFull
	case errors.Is(err, ErrNotFolder):
		return codeFile
	}
	return codeFailed
}

// ParseAnswer reads what a helper left on the answer's stream, of which no more than
// [MaxAnswer] bytes are needed. The error is the helper's own, and wraps [ErrCorrupt],
// [ErrFull] or [ErrNotFolder] as it did there; or it wraps [ErrNoAnswer].
func ParseAnswer(left []byte) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(left, &a); err != nil {
		if len(left) == 0 {
			return Answer{}, fmt.Errorf("%w; it left nothing", ErrNoAnswer)
		}
		return Answer{}, fmt.Errorf("%w; it left: %s", ErrNoAnswer, printable(string(left)))
	}
	if a.Error == nil {
		return a, nil
	}
	return a, &remoteError{Failure: *a.Error}
}

// remoteError is an error of a helper: its message, and what it wrapped there.
type remoteError struct{ Failure }

func (e *remoteError) Error() string { return e.Message }

func (e *remoteError) Is(target error) bool {
	switch e.Code {
	case codeCorrupt:
		return target == ErrCorrupt
	case codeFull:
		return target == ErrFull
	case codeFile:
		return target == ErrNotFolder
	}
	return false
}
