package limit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/limit"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A sink that is bounded is a sink.
func TestConformance(t *testing.T) {
	sinktest.RunInMemory(t, func(m *sinktest.Memory) sink.Sink { return limit.New(m, limit.Options{Rate: 1 << 40}) })
}

// write writes so many bytes, and returns how long that takes.
func write(ctx context.Context, t *testing.T, s sink.Sink, n int) (time.Duration, error) {
	t.Helper()
	staging, err := s.Stage(t.Context(), "points/h/container/n/i", "1")
	must(t, err)
	defer staging.Discard(context.Background()) //nolint:errcheck // it is in memory
	w, _, err := staging.Create(ctx, "image.tar.zst", int64(n))
	must(t, err)
	began := time.Now()
	_, err = w.Write(make([]byte, n))
	return time.Since(began), err
}

func TestRate(t *testing.T) {
	const mib = 1 << 20
	for hours, c := range map[string]struct {
		at   int // hour of the day
		want time.Duration
	}{
		"":            {12, 9 * time.Second}, // the first MiB need not wait
		"08:00-18:00": {12, 9 * time.Second}, "18:00-08:00": {12, 0}, "22:00-06:00": {23, 9 * time.Second},
		"08:00 - 12:00": {12, 0}, "12:00-12:01": {12, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			year, month, day := time.Now().Date()
			time.Sleep(time.Until(time.Date(year, month, day+1, c.at, 0, 0, 0, time.Local)))
			s := limit.New(sinktest.NewMemory(), limit.Options{Rate: mib, Hours: hours})
			took, err := write(t.Context(), t, s, 10*mib)
			must(t, err)
			if (took - c.want).Abs() > 10*time.Millisecond {
				t.Errorf("%q at %d: it took %s, want %s", hours, c.at, took, c.want)
			}
		})
	}
}

// Who waits for the rate ends with its ctx, whatever is still to come.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limit.New(sinktest.NewMemory(), limit.Options{Rate: limit.MinRate})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		took, err := write(ctx, t, s, 10<<20)
		if !errors.Is(err, context.DeadlineExceeded) || took != 5*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestOptionsAreRefused(t *testing.T) {
	for _, o := range []limit.Options{
		{}, {Rate: -1}, {Rate: limit.MinRate - 1}, {Rate: 1 << 20, Hours: "8"}, {Rate: 1 << 20, Hours: "08:00-08:00"},
		{Rate: 1 << 20, Hours: "08:00-25:00"}, {Rate: 1 << 20, Hours: "-"},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
