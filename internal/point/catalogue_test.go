package point_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

const (
	firstDir   = "points/web01/container/web-1/20260302T141503Z-441e7818"
	damagedDir = "points/web01/container/web-1/20260302T141504Z-441e7819"
	thirdDir   = "points/web02/container/web-1/20260302T141503Z-55555555"
)

// manifestAt is the example as the manifest of the point in a folder.
func manifestAt(t *testing.T, dir string, change ...func(m *point.Manifest)) []byte {
	t.Helper()
	m := decode(t, example(t))
	parts := strings.Split(dir, "/")
	old := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	m.Host, m.Item.Kind, m.Item.Name, m.ID = parts[1], events.ItemKind(parts[2]), parts[3], parts[4]
	for i := range m.Artifacts {
		m.Artifacts[i].Key = strings.Replace(m.Artifacts[i].Key, old, dir, 1)
	}
	for _, f := range change {
		f(m)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func catalogue(t *testing.T) *sinktest.Memory {
	t.Helper()
	s := sinktest.NewMemory()
	publish(t, s, firstDir, manifestAt(t, firstDir))
	publish(t, s, damagedDir, []byte("{"))
	publish(t, s, thirdDir, manifestAt(t, thirdDir))
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

// A manifest that is where another one belongs, or that names what is not its own, is
// damaged: it would have the wrong thing restored.
func TestAManifestInTheWrongPlaceIsDamaged(t *testing.T) {
	own := manifestAt(t, firstDir)
	for name, raw := range map[string][]byte{
		"of another host":    manifestAt(t, thirdDir),
		"of another point":   manifestAt(t, damagedDir),
		"of another kind":    manifestAt(t, strings.Replace(firstDir, "container", "image", 1)),
		"an object of ours":  bytes.Replace(own, []byte(firstDir+"/image.tar.zst"), []byte("holdfast.json"), 1),
		"of another's":       bytes.Replace(own, []byte(firstDir+"/image.tar.zst"), []byte(thirdDir+"/image.tar.zst"), 1),
		"outside":            bytes.Replace(own, []byte(firstDir+"/image.tar.zst"), []byte(firstDir+"/../../x"), 1),
		"beside the folder":  bytes.Replace(own, []byte(firstDir+"/image.tar.zst"), []byte(firstDir+"x/image.tar.zst"), 1),
		"the folder itself":  bytes.Replace(own, []byte(firstDir+"/image.tar.zst"), []byte(firstDir), 1),
		"an id of that form": bytes.Replace(own, []byte("441e7818\","), []byte("441e7810\","), 1),
	} {
		s := sinktest.NewMemory()
		publish(t, s, firstDir, raw)
		if bytes.Equal(raw, own) {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := point.Read(t.Context(), s, firstDir); !errors.Is(err, point.ErrDamaged) {
			t.Errorf("%s: %v, want that it is damaged", name, err)
		}
	}
}

// removing removes a point just before its manifest is opened.
type removing struct {
	*sinktest.Memory
	dir string
}

func (r removing) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if path.Dir(key) == r.dir {
		if err := r.RemovePoint(ctx, r.dir); err != nil {
			return nil, err
		}
	}
	return r.Memory.Open(ctx, key)
}

// A point that is removed while the sink is listed is left out.
func TestListWhatIsRemovedMeanwhile(t *testing.T) {
	var got []string
	for e, err := range point.List(t.Context(), removing{catalogue(t), firstDir}, sink.PointsName) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Dir)
	}
	if want := []string{damagedDir, thirdDir}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
}

// breaking fails to open some keys.
type breaking struct {
	*sinktest.Memory
	keys map[string]error
}

func (b breaking) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := b.keys[key]; err != nil {
		return nil, err
	}
	return b.Memory.Open(ctx, key)
}

// One manifest that cannot be read, whatever the reason, hides no other point.
func TestListWithAManifestThatCannotBeRead(t *testing.T) {
	away := breaking{catalogue(t), map[string]error{thirdDir + "/" + sink.ManifestName: sink.ErrUnavailable}}
	failed := map[string]error{}
	for e, err := range point.List(t.Context(), away, sink.PointsName) {
		if err != nil {
			t.Fatal(err)
		}
		failed[e.Dir] = e.Err
	}
	if len(failed) != 3 || failed[firstDir] != nil || !errors.Is(failed[damagedDir], point.ErrDamaged) ||
		!errors.Is(failed[thirdDir], sink.ErrUnavailable) || errors.Is(failed[thirdDir], point.ErrDamaged) {
		t.Errorf("what could not be read is %v", failed)
	}
}

// A sink that goes away while it is listed ends the list with its error, after the
// points that were read before.
func TestListASinkThatGoesAway(t *testing.T) {
	s := catalogue(t)
	s.Fail(t, sinktest.OpPoints, 1, sink.ErrUnavailable)
	for e, err := range point.List(t.Context(), s, sink.PointsName) {
		if !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("%s, %v", e.Dir, err)
		}
	}
	found, last := 0, error(nil)
	for _, err := range point.List(t.Context(), vanishing{s}, sink.PointsName) {
		if last = err; err == nil {
			found++
		}
	}
	if found != 3 || !errors.Is(last, sink.ErrUnavailable) {
		t.Errorf("%d points and the error %v", found, last)
	}
}

// vanishing ends its list with an error.
type vanishing struct{ *sinktest.Memory }

func (v vanishing) Points(ctx context.Context, below string) iter.Seq2[sink.Found, error] {
	return func(yield func(sink.Found, error) bool) {
		for found, err := range v.Memory.Points(ctx, below) {
			if !yield(found, err) {
				return
			}
		}
		yield(sink.Found{}, sink.ErrUnavailable)
	}
}

// Thousands of points come in the sink's order, and a caller may stop anywhere.
func TestListKeepsTheOrder(t *testing.T) {
	s := sinktest.NewMemory()
	var want []string
	for i := range 200 {
		dir := fmt.Sprintf("points/web01/container/web-1/20260302T1415%02dZ-%08x", i/10, i)
		publish(t, s, dir, manifestAt(t, dir))
		want = append(want, dir)
	}
	for _, stop := range []int{1, 2, 17, 18, 199, 200, 1000} {
		var got []string
		for e, err := range point.List(t.Context(), s, sink.PointsName) {
			if err != nil || e.Err != nil {
				t.Fatal(err, e.Err)
			}
			if got = append(got, e.Dir); len(got) == stop {
				break
			}
		}
		if !slices.Equal(got, want[:min(stop, len(want))]) {
			t.Errorf("the first %d are %q", stop, got)
		}
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
