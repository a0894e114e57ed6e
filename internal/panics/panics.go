// Package panics turns a panic into an error, so that it costs what was being done,
// and not the process.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
)

// Error is a panic that was caught. It is a fault of the program.
type Error struct {
	Value any
	// Stack is that of the goroutine that panicked. It belongs into the log alone.
	Stack []byte
}

func (e *Error) Error() string {
	return fmt.Sprintf("a fault of Holdfast itself, whose log has more; please report it (%v)", e.Value)
}

// Catch does the work, and returns its error, or an *[Error] if it panics. What the
// work has deferred is done then. It does not catch a panic of another goroutine.
func Catch(work func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Error{Value: v, Stack: debug.Stack()}
		}
	}()
	return work()
}

// LogStack is the stack of the panic that err is, for a log; no field if it is none.
func LogStack(err error) zap.Field {
	if stack := Stack(err); stack != nil {
		return zap.ByteString("stack", stack)
	}
	return zap.Skip()
}

// Stack returns the stack of the panic that err is; nil if it is none.
func Stack(err error) []byte {
	if caught, ok := errors.AsType[*Error](err); ok {
		return caught.Stack
	}
	return nil
}
