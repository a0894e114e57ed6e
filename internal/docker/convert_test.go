package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// testID is the id in the documents of testdata.
const testID = "579fc977559b7f87d01b9d8c80c553447ba8c4e6dd52514310a86bfdd1cb6ffc"

// document reads a document that an Engine answered.
func document(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// without is the document with a member taken out (by its path) or made null.
func without(t testing.TB, raw []byte, null bool, path ...string) []byte {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	in := whole
	for _, name := range path[:len(path)-1] {
		in, _ = in[name].(map[string]any)
	}
	last := path[len(path)-1]
	if _, ok := in[last]; !ok {
		t.Fatalf("the document has no %v", path)
	}
	if in[last] = nil; !null {
		delete(in, last)
	}
	out, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDetail(t *testing.T) {
	raw := document(t, "inspect.json")
	d, err := detail(testID, raw)
	if err == nil && (d.ImageID != "sha256:7eb36b8e71dc45c4c029bba87ac75c57603df13a6db2755170b8ab94fa9dbf8d" || d.ConfigSize != 7) {
		t.Errorf("its image is %s, and its configuration has %d bytes", d.ImageID, d.ConfigSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "web" || d.State != events.StateRunning || d.StartedAt.IsZero() || d.Labels["tier"] != "web" || len(d.Mounts) != 2 {
		t.Errorf("it is %+v", d)
	}
	// What is left out costs the container, and nothing is guessed in its place.
	for _, path := range [][]string{{"Id"}, {"State"}, {"State", "Status"}, {"State", "StartedAt"}, {"Config"}, {"HostConfig"}, {"Mounts"}} {
		for _, null := range []bool{true, false} {
			_, err := detail(testID, without(t, raw, null, path...))
			if !errors.Is(err, engine.ErrBadAnswer) || !strings.Contains(err.Error(), testID) {
				t.Errorf("without %v (null %v): %v, want ErrBadAnswer with the id", path, null, err)
			}
		}
	}
	for _, path := range [][]string{{"NetworkSettings"}, {"Name"}, {"Config", "Labels"}, {"HostConfig", "Tmpfs"},
		{"HostConfig", "AutoRemove"}} {
		if _, err := detail(testID, without(t, raw, true, path...)); err != nil {
			t.Errorf("without %v, which nothing hangs on: %v", path, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", "{", "{}", `{"State": 1}`} {
		if _, err := detail(testID, []byte(bad)); !errors.Is(err, engine.ErrBadAnswer) {
			t.Errorf("%q: %v, want ErrBadAnswer", bad, err)
		}
	}
	for _, mounts := range []string{"[null]", "[{}]", `[{"Type":"volume","Name":"data"}]`} {
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(raw, &whole); err != nil {
			t.Fatal(err)
		}
		whole["Mounts"] = json.RawMessage(mounts)
		changed, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := detail(testID, changed); !errors.Is(err, engine.ErrBadAnswer) {
			t.Errorf("with the mounts %s: %v, want ErrBadAnswer", mounts, err)
		}
	}
	if _, err := detail(strings.Repeat("a", 64), raw); !errors.Is(err, engine.ErrBadAnswer) {
		t.Errorf("the document of another container: %v", err)
	}
}

func TestListed(t *testing.T) {
	raw := document(t, "list.json")
	convert := func(raw []byte) (engine.Container, error) {
		var c container.Summary
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		return listed(c)
	}
	l, err := convert(raw)
	if err != nil || l.Lacks != "" || l.Name != "web" || !slices.Contains(l.Addresses, "172.17.0.2") || l.Network != "default" ||
		!slices.Contains(l.Ports, netip.MustParseAddrPort("0.0.0.0:8080")) {
		t.Errorf("it is %+v, %v", l, err)
	}
	for member, lacks := range map[string]string{"State": "state", "Names": "name", "NetworkSettings": "networks"} {
		for _, null := range []bool{true, false} {
			if l, err := convert(without(t, raw, null, member)); err != nil || !strings.Contains(l.Lacks, lacks) {
				t.Errorf("without %s (null %v): %+v, %v, want it to lack its %s", member, null, l, err, lacks)
			}
		}
	}
	if _, err := convert(without(t, raw, true, "Id")); !errors.Is(err, engine.ErrBadAnswer) {
		t.Errorf("without an id: %v", err)
	}
}

func FuzzDetail(f *testing.F) {
	whole := document(f, "inspect.json")
	f.Add(whole)
	for _, member := range []string{"State", "Config", "HostConfig", "NetworkSettings", "Mounts"} {
		f.Add(without(f, whole, true, member))
	}
	f.Add([]byte(fmt.Sprintf(`{"Id":%q,"State":{"Status":"running","StartedAt":"0001-01-01T00:00:00Z"},"Config":{"StopTimeout":-9223372036854775808},`+
		`"HostConfig":{"Tmpfs":{"":""}},"Mounts":[{}]}`, testID)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := detail(testID, raw)
		switch {
		case err != nil && !errors.Is(err, engine.ErrBadAnswer):
			t.Fatalf("the error is %v", err)
		case err != nil && len(err.Error()) > 1000:
			t.Fatalf("the error has %d bytes", len(err.Error()))
		case err == nil && (d.ID != testID || !slices.Contains(events.States, d.State) || d.StopGrace < 0):
			t.Fatalf("it is taken for %+v", d)
		}
	})
}

func FuzzListed(f *testing.F) {
	whole := document(f, "list.json")
	f.Add(whole)
	for _, member := range []string{"Id", "Names", "State", "Labels", "NetworkSettings", "Ports"} {
		f.Add(without(f, whole, true, member))
	}
	f.Add([]byte(`{"Id":"` + testID + `","Names":["/a/b",""],"NetworkSettings":{"Networks":{"x":null}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c container.Summary
		if json.Unmarshal(raw, &c) != nil {
			t.Skip()
		}
		l, err := listed(c)
		switch {
		case err != nil && !errors.Is(err, engine.ErrBadAnswer):
			t.Fatalf("the error is %v", err)
		case err == nil && (!fullID.MatchString(l.ID) || l.Lacks == "" && !slices.Contains(events.States, l.State)):
			t.Fatalf("it is taken for %+v", l)
		}
	})
}

// What is not configured is the Engine's default, and nothing overflows.
func TestHealthBound(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, test := range map[string]struct {
		check *container.HealthConfig
		want  time.Duration
	}{
		"none is known":   {nil, 3 * time.Minute},
		"all is set":      {&container.HealthConfig{StartPeriod: time.Hour, Interval: time.Second, Timeout: 2 * time.Second, Retries: 5}, time.Hour + 15*time.Second},
		"nearly for ever": {&container.HealthConfig{StartPeriod: math.MaxInt64, Interval: math.MaxInt64, Timeout: math.MaxInt64, Retries: math.MaxInt32}, 3 * year},
		"often":           {&container.HealthConfig{Interval: time.Hour, Timeout: time.Hour, Retries: math.MaxInt32}, year + 2*time.Hour},
	} {
		if got := healthBound(test.check); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
