package panics_test

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/internal/panics"
)

func TestCatch(t *testing.T) {
	want := errors.New("its own")
	if err := panics.Catch(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("an error comes back as %v", err)
	}
	if err := panics.Catch(func() error { return nil }); err != nil {
		t.Error(err)
	}
	var none *struct{ member int }
	err := panics.Catch(func() error { none.member++; return nil })
	caught, ok := errors.AsType[*panics.Error](err)
	if !ok || !strings.Contains(err.Error(), "nil pointer") || !strings.Contains(string(caught.Stack), "TestCatch") {
		t.Errorf("a panic comes back as %v", err)
	}
	core, logs := observer.New(zap.InfoLevel)
	zap.New(core).Info("both", panics.LogStack(err))
	zap.New(core).Info("both", panics.LogStack(errors.New("no panic")))
	if all := logs.All(); !strings.Contains(all[0].ContextMap()["stack"].(string), "TestCatch") || len(all[1].ContextMap()) > 0 {
		t.Errorf("logged are %v and %v", all[0].ContextMap(), all[1].ContextMap())
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the message has the stack: %s", err)
	}
}
