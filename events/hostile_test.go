package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

// The greatest message that a stream takes has 256 KiB. Reading it must cost
// little, and the answer must stay small, whatever it holds.
func TestHostileMessagesAreQuickAndTheirAnswerIsSmall(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1","source":"/a","type":"t"`
	names := binary()
	for i := range 1000 {
		names[fmt.Sprintf("ce-x_%d", i)] = []string{strings.Repeat("%", 200)}
	}
	var members strings.Builder
	for i := 0; members.Len() < hostileSize; i++ {
		fmt.Fprintf(&members, `,"x%d":[]`, i)
	}
	for name, m := range map[string]struct {
		headers headers
		body    string
	}{
		"brackets":                   {nil, fill("[")},
		"brackets in data":           {nil, head + `,"data":` + fill("[")},
		"objects in data":            {nil, head + `,"data":` + fill(`{"a":`)},
		"bad attributes":             {nil, head + members.String() + "}"},
		"a long name":                {nil, head + `,"` + fill("/") + `":"x"}`},
		"a long value":               {nil, head + `,"time":"` + fill("x") + `"}`},
		"a long number":              {nil, head + `,"x":` + fill("9") + "}"},
		"a number of great exponent": {nil, head + `,"x":1e999999999}`},
		"headers":                    {names, "{}"},
		"percent signs":              {binary("ce-id", fill("%")), "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := events.Decode(m.headers, []byte(m.body))
			expectQuickAndSmall(t, began, err)
			if bad, ok := errors.AsType[*events.MalformedError](err); ok && len(bad.Violations) > 50 {
				t.Errorf("%d violations", len(bad.Violations))
			}
		})
	}
}

func TestHostileDataIsRefusedQuickly(t *testing.T) {
	list := func(member, entry string, n int) string {
		return `{"containers":{"` + member + `":[` + strings.TrimSuffix(strings.Repeat(entry+",", n), ",") + `]}}`
	}
	for name, raw := range map[string]string{
		"100,000 levels":       strings.Repeat("[", 100_000),
		"levels inside levels": fill(`{"containers":`),
		"names of other types": list("names", "1", 100_000),
		"names that are empty": list("names", `""`, 80_000),
		"a long number":        `{"containers":{"all":` + fill("9") + `}}`,
		"great exponents":      list("names", "1e99999", 30_000),
		"nested repetitions":   list("match", `"((a{100}){100}){100}"`, 1000),
		"large programs":       list("match", `"(x{1000})"`, 1000),
		"large classes":        list("match", `"(?i)[\\pL\\d]{500}"`, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := events.ParseBackupRequest([]byte(raw))
			expectQuickAndSmall(t, began, err)
		})
	}
}

// hostileSize is the size of the greatest request.
const hostileSize = 256 << 10

// fill repeats a text up to that size.
func fill(text string) string { return strings.Repeat(text, hostileSize/len(text)) }

// expectQuickAndSmall allows a hundred times of what it takes, since tests run
// on busy machines; what is meant are the inputs that take minutes.
func expectQuickAndSmall(t *testing.T, began time.Time, err error) {
	t.Helper()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if err == nil || len(err.Error()) > 64<<10 {
		t.Errorf("the error has %d bytes: %.200v", len(fmt.Sprint(err)), err)
	}
}
