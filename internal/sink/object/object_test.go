package object_test

import (
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
)

func TestConformance(t *testing.T) {
	objecttest.Run(t, func(*testing.T) objecttest.Place { return objecttest.NewMemory() })
}

func TestLockingConformance(t *testing.T) {
	objecttest.RunLocking(t, func(*testing.T) objecttest.LockingPlace { return objecttest.NewLocking() })
}

// A clock of the store that differs from this machine's is told from a minute on.
func TestSkewedClock(t *testing.T) {
	for ahead, want := range map[time.Duration]string{
		0: "", 50 * time.Second: "", -50 * time.Second: "", 130 * time.Second: "about 2m0s ahead of", -3 * time.Hour: "about 3h0m0s behind",
	} {
		place := objecttest.NewMemory()
		place.Skew(ahead)
		s, err := object.Open(t.Context(), place.Open(t), "", "")
		if err != nil {
			t.Fatal(err)
		}
		probed, err := s.Probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(probed.Warnings, "; "); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s ahead: it warns %q, want %q", ahead, got, want)
		}
	}
}

// The first one that sets a sink up says its format, and the sink keeps it.
func TestFormat(t *testing.T) {
	m := objecttest.NewMemory()
	for _, format := range []string{"layers", "archive", ""} {
		s, err := object.Open(t.Context(), m.Open(t), "", format)
		must(t, err)
		existing, err := object.OpenExisting(t.Context(), m.Open(t))
		must(t, err)
		if s.Format() != "layers" || existing.Format() != "layers" {
			t.Errorf("it has format %q, and opened as it is %q", s.Format(), existing.Format())
		}
	}
}
