package schemas_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast.io/holdfast/schemas"
	"holdfast.io/holdfast/schemas/examples"
)

func TestValidExamplesAreAccepted(t *testing.T) {
	for _, name := range schemas.Names() {
		valid, err := examples.Valid(name)
		if err != nil {
			t.Fatal(err)
		}
		for file, raw := range valid {
			if err := schemas.Validate(name, raw); err != nil {
				t.Errorf("%s, %s: %v", name, file, err)
			}
		}
	}
}

func TestInvalidExamplesAreRefusedForTheirOneFault(t *testing.T) {
	for _, name := range schemas.Names() {
		invalid, err := examples.Invalid(name)
		if err != nil {
			t.Fatal(err)
		}
		for file, fault := range invalid {
			bad, ok := errors.AsType[*schemas.Error](schemas.Validate(name, fault.Data))
			if !ok {
				t.Errorf("%s, %s (%s): accepted", name, file, fault.Why)
				continue
			}
			want := []schemas.Violation{{Pointer: fault.Pointer, Message: fault.Message, Unsupported: fault.Unsupported}}
			if !slices.Equal(bad.Violations, want) {
				t.Errorf("%s, %s (%s):\n got %+v\nwant %+v", name, file, fault.Why, bad.Violations, want)
			}
		}
	}
}

func TestAllFaultsAreReportedSortedByPointer(t *testing.T) {
	const text = `{"contaners": 1, "tags": {"": "", "b": 2, "a": 1}, "quiesce": "x", "timeout": "x", "sink": "/", "dryRun": 0,
		"containers": {"names": [""], "nmes": [], "labels": ["="]}}`
	want := `/containers/labels/0 must be a label K or K=V, where K is not empty; ` +
		`/containers/names/0 must not be empty; ` +
		`/containers/nmes unknown member "nmes"; ` +
		`/contaners unknown member "contaners"; ` +
		`/dryRun must be a boolean, not a number; ` +
		`/quiesce must be one of "pause", "none", "stop"; ` +
		`/sink must be a sink's name: a letter or digit, then up to 62 letters, digits, ".", "_" or "-"; ` +
		`/tags/ has a name that is not allowed in tags: their names have 1 to 128 characters and no control characters; ` +
		`/tags/a must be a string, not a number; ` +
		`/tags/b must be a string, not a number; ` +
		`/timeout must be a duration above zero, such as "30m" or "1h30m"`
	for range 20 { // the validator walks over maps
		err := schemas.Validate("io.holdfast.backup.requested.v1", []byte(text))
		if err == nil || err.Error() != want {
			t.Fatalf("got  %v\nwant %s", err, want)
		}
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"x%d":0,`, i)
	}
	err := schemas.Validate("io.holdfast.cancel.requested.v1", []byte(`{`+b.String()+`"job":"ptg32uecxwng6yf7"}`))
	bad, ok := errors.AsType[*schemas.Error](err)
	if !ok || len(bad.Violations) != 50 {
		t.Fatalf("got %v", err)
	}
	if got := bad.Violations[49].Message; got != "and 951 more" {
		t.Errorf("the last violation is %q", got)
	}
}

func TestAReportIsSmallWhateverTheDocument(t *testing.T) {
	long := strings.Repeat("/", 200_000)
	for _, text := range []string{
		`{"` + long + `": 1}`,
		`{"tags": {"` + long + `": 1}}`,
		`{"containers": {"names": ["` + long + `"], "labels": ["=` + long + `"]}}`,
		`{"` + long + `": 1, "` + long + `": 1}`,
		`{"` + long + `": tru}`,
	} {
		err := schemas.Validate("io.holdfast.backup.requested.v1", []byte(text))
		if err == nil || len(err.Error()) > 2048 {
			t.Errorf("%.40s…: the report has %d bytes", text, len(fmt.Sprint(err)))
		}
	}
}

// Some are compiled while documents are held against others.
func TestValidateMayBeCalledByManyGoroutines(t *testing.T) {
	validate := schemas.Fresh()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			names := schemas.Names()
			rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				valid, err := examples.Valid(name)
				if err != nil {
					t.Error(err)
				}
				for file, raw := range valid {
					if err := validate(name, raw); err != nil {
						t.Errorf("%s, %s: %v", name, file, err)
					}
				}
			}
		})
	}
	callers.Wait()
}

func TestAnUnknownSchemaIsNoFaultOfTheDocument(t *testing.T) {
	err := schemas.Validate("io.holdfast.backup.requested.v2", []byte(`{}`))
	if _, ok := errors.AsType[*schemas.Error](err); ok || err == nil {
		t.Errorf("got %v", err)
	}
	if _, err := schemas.Source("../schemas"); err == nil {
		t.Error("a schema was found outside the folder")
	}
}
