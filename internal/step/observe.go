package step

import "context"

// observerKey is the key of the observer in a context.
type observerKey struct{}

// Observe returns a context with which [At] calls observe for each step, after
// those that ctx has already. It may be called by several goroutines at a time,
// and must be quick: the job waits for it.
func Observe(ctx context.Context, observe func(ctx context.Context, passed Name)) context.Context {
	if before := observer(ctx); before != nil {
		added := observe
		observe = func(ctx context.Context, passed Name) { before(ctx, passed); added(ctx, passed) }
	}
	return context.WithValue(ctx, observerKey{}, observe)
}

func observer(ctx context.Context) func(context.Context, Name) {
	f, _ := ctx.Value(observerKey{}).(func(context.Context, Name))
	return f
}

// observed tells the observers of ctx that a step has been passed.
func observed(ctx context.Context, passed Name) {
	if f := observer(ctx); f != nil {
		f(ctx, passed)
	}
}
