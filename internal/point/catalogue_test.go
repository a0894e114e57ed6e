package point_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

const (
	firstDir   = "points/web01/container/web-1/20260302T141503Z-441e7818"
	damagedDir = "points/web01/container/web-1/20260302T141504Z-441e7819"
	thirdDir   = "points/web02/container/web-1/20260302T141503Z-55555555"
)

func catalogue(t *testing.T) *sinktest.Memory {
	t.Helper()
	s := sinktest.NewMemory()
	publish(t, s, firstDir, example(t))
	publish(t, s, damagedDir, []byte("{"))
	publish(t, s, thirdDir, example(t))
	return s
}

// A manifest that is damaged hides no other point.
func TestList(t *testing.T) {
	s := catalogue(t)
	for below, want := range map[string][]string{
		"points":       {firstDir, damagedDir, thirdDir},
		"points/web01": {firstDir, damagedDir},
		thirdDir:       {thirdDir},
		"points/web03": nil,
	} {
		var got []string
		for e, err := range point.List(t.Context(), s, below) {
			if err != nil {
				t.Fatal(err)
			}
			if (e.Manifest == nil) != (e.Err != nil) || (e.Err != nil) != (e.Dir == damagedDir) {
				t.Errorf("%s has the manifest %v and the error %v", e.Dir, e.Manifest, e.Err)
			}
			got = append(got, e.Dir)
		}
		if !slices.Equal(got, want) {
			t.Errorf("below %s there are %q, want %q", below, got, want)
		}
	}
}

// A point that is removed while the sink is listed is left out.
func TestListWhatIsRemovedMeanwhile(t *testing.T) {
	s := catalogue(t)
	var got []string
	for e, err := range point.List(t.Context(), s, sink.PointsName) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Dir)
		if err := s.RemovePoint(t.Context(), thirdDir); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{firstDir, damagedDir}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}

// One manifest that cannot be read, whatever the reason, hides no other point.
func TestListWithAManifestThatCannotBeRead(t *testing.T) {
	s := catalogue(t)
	s.Fail(t, sinktest.OpOpen, 3, sink.ErrUnavailable)
	s.Fail(t, sinktest.OpRead, 1, errors.New("broken"))
	failed := map[string]bool{}
	for e, err := range point.List(t.Context(), s, sink.PointsName) {
		if err != nil {
			t.Fatal(err)
		}
		failed[e.Dir] = e.Err != nil
	}
	if want := map[string]bool{firstDir: true, damagedDir: true, thirdDir: true}; !maps.Equal(failed, want) {
		t.Errorf("what could not be read is %v, want %v", failed, want)
	}
}

func TestListEnds(t *testing.T) {
	s := catalogue(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var found int
	var failure error
	for _, err := range point.List(ctx, s, sink.PointsName) {
		if err != nil {
			failure = err
			continue
		}
		found++
		cancel()
	}
	if found != 1 || !errors.Is(failure, context.Canceled) {
		t.Errorf("%d points and the error %v", found, failure)
	}
}

func TestFind(t *testing.T) {
	s := catalogue(t)
	for prefix, want := range map[string][]string{
		"20260302T141504Z-441e7819": {damagedDir},
		"20260302T141503Z":          {firstDir, thirdDir},
		"2026":                      {firstDir, damagedDir, thirdDir},
		"2027":                      nil,
		"441e":                      nil,
	} {
		got, err := point.Find(t.Context(), s, prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s finds %q, %v; want %q", prefix, got, err, want)
		}
	}
}
