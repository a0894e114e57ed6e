package events_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// payloads are the types of everything that is published as data.
var payloads = []any{
	events.Accepted{}, events.Planned{}, events.Progress{}, events.BackupItemCompleted{}, events.ItemFailed{},
	events.RestoreItemCompleted{}, events.VerifyItemCompleted{}, events.PruneItemCompleted{}, events.CopyItemCompleted{},
	events.Ended{}, events.RequestRejected{}, events.RequestUnserved{}, events.DeadLetter{},
}

// hostile are texts that JSON writes in up to six times their bytes.
var hostile = []string{"", "web-1", "<", "\"", "\x00", "\xff", "\u2028", "é", "😀", "\\", "a\nb"}

// populate puts values into a struct: lists of up to size entries, and texts of up to
// size bytes.
func populate(r *rand.Rand, v reflect.Value, size int) {
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.String:
			field.SetString(strings.Repeat(hostile[r.IntN(len(hostile))], r.IntN(size+1)))
		case reflect.Struct:
			if field.Type() != reflect.TypeFor[time.Time]() {
				populate(r, field, size)
			}
		case reflect.Slice:
			if field.Type().Elem().Kind() != reflect.Struct {
				continue
			}
			list := reflect.MakeSlice(field.Type(), r.IntN(size+1), size)
			for j := range list.Len() {
				populate(r, list.Index(j), size/20)
			}
			field.Set(list)
		case reflect.Int, reflect.Int64:
			if !strings.HasSuffix(v.Type().Field(i).Name, "Omitted") {
				field.SetInt(r.Int64() >> 1)
			}
		}
	}
}

// Whatever is in a document, it stays below its limit, and every entry is listed or
// counted.
func FuzzFit(f *testing.F) {
	for i := range 60 {
		f.Add(uint64(i), uint16(1<<(i%13)))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		doc := reflect.New(reflect.TypeOf(payloads[r.IntN(len(payloads))])).Elem()
		populate(r, doc, int(size)%5000)
		raw, err := events.Fit(doc.Interface(), events.MaxDataBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > events.MaxDataBytes {
			t.Fatalf("a %s has %d bytes", doc.Type(), len(raw))
		}
		back := reflect.New(doc.Type())
		if err := json.Unmarshal(raw, back.Interface()); err != nil {
			t.Fatal(err)
		}
		wantCounted(t, doc, back.Elem())
	})
}

func wantCounted(t *testing.T, before, after reflect.Value) {
	t.Helper()
	for i := range before.NumField() {
		name := before.Type().Field(i).Name
		switch field := before.Field(i); {
		case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[time.Time]():
			wantCounted(t, field, after.Field(i))
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			omitted := after.FieldByName(name + "Omitted")
			if !omitted.IsValid() { // its own last entry says how many there are
				continue
			}
			if n := after.Field(i).Len() + int(omitted.Int()); n != field.Len() {
				t.Errorf("%s of %s has %d entries, of which %d are listed or counted", name, before.Type(), field.Len(), n)
			}
		}
	}
}

// A result is below the 1 MiB of a server's messages with all that a stranger can
// bring into its headers.
func TestResultsAreBounded(t *testing.T) {
	request := event.New()
	request.SetID(strings.Repeat("é", events.MaxIDBytes/2))
	request.SetExtension(events.ExtCorrelationID, strings.Repeat("é", events.MaxIDBytes/2))
	request.SetExtension(events.ExtTraceParent, strings.Repeat("0", 200<<10))
	mounts := make([]events.NotIncluded, 4000)
	for i := range mounts {
		mounts[i] = events.NotIncluded{Type: "bind", Source: "/tmp", Destination: "/" + strings.Repeat("d", 200) + fmt.Sprint(i)}
	}
	ev := events.NewResult(time.Now(), "web01", "ptg32uecxwng6yf7", request, events.Backup.ResultType(events.ResultItemCompleted),
		strings.Repeat("\xff", 100_000), "", events.BackupItemCompleted{NotIncluded: mounts})
	headers, body, err := events.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	size := len(body)
	for name, values := range headers {
		size += len(name) + len(values[0])
	}
	if size > events.MaxItemDataBytes+16<<10 {
		t.Errorf("it has %d bytes", size)
	}
	var data events.BackupItemCompleted
	if err := ev.DataAs(&data); err != nil {
		t.Fatal(err)
	}
	if len(data.NotIncluded) < 100 || data.NotIncludedOmitted != len(mounts)-len(data.NotIncluded) {
		t.Errorf("listed are %d mounts, omitted %d", len(data.NotIncluded), data.NotIncludedOmitted)
	}
}

// Lists that want little leave their part to those that want more.
func TestListsShareTheRoom(t *testing.T) {
	data := events.Accepted{Plan: events.Plan{
		Missing: []events.Missing{{Name: "gone"}},
		Items:   make([]events.PlannedItem, 400),
	}}
	for i := range data.Items {
		data.Items[i].Reason = strings.Repeat("<", 1000)
	}
	raw, err := events.Fit(data, events.MaxDataBytes)
	if err != nil {
		t.Fatal(err)
	}
	var got events.Accepted
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 400 || len(got.Missing) != 1 || got.ItemsOmitted != 0 {
		t.Errorf("listed are %d items and %d missing names", len(got.Items), len(got.Missing))
	}
	if data.Items[0].Reason != strings.Repeat("<", 1000) || data.Excluded != nil {
		t.Error("the document itself was changed")
	}
	if !strings.Contains(string(raw), `"excluded":[]`) {
		t.Error("a list without entries is not an empty list")
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{strings.Repeat("a", 40), strings.Repeat("a", 40)},
		{strings.Repeat("a", 30) + strings.Repeat("b", 30), strings.Repeat("a", 18) + "…[60 bytes]…" + strings.Repeat("b", 6)},
		{strings.Repeat("\x00", 41), "\x00\x00\x00…[41 bytes]…\x00"},
		{strings.Repeat("😀", 11), "😀😀😀😀…[44 bytes]…😀"},
	} {
		got := events.Cut(c.text, 40)
		if got != c.want {
			t.Errorf("%q is cut to %q, want %q", c.text, got, c.want)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q is not valid UTF-8", got)
		}
	}
}
