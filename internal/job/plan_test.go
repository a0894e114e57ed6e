package job_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/job/copyjob"
	"holdfast.io/holdfast/internal/job/prunejob"
	"holdfast.io/holdfast/internal/job/restorejob"
	"holdfast.io/holdfast/internal/job/verifyjob"
	"holdfast.io/holdfast/internal/ledger"
)

// planned is a request of each kind, and a plan for it as it lies in the ledger.
var planned = []struct {
	kind          job.Kind
	form          int
	request, plan string
}{
	{&backupjob.Kind{}, 2, `{"containers":{"all":true}}`, `"items":[{"kind":"container","id":"i","name":"n","reason":"r","selector":"all"}],"stopOrder":[0]`},
	{&restorejob.Kind{}, 2, `{"containers":{"names":["n"]}}`, `"items":[{"kind":"container","id":"i","name":"n","reason":"r","dir":"d",` +
		`"replaces":"o","dependants":[{"id":"d","name":"m"}],"volumes":[{"was":"a","name":"b","action":"created"}]}],"missing":[]`},
	{&verifyjob.Kind{}, 1, `{"containers":{"all":true}}`, `"items":[{"kind":"container","id":"i","name":"n","reason":"r","dir":"d","named":true}]`},
	{&prunejob.Kind{}, 1, `{"keep":{"last":1},"containers":{"all":true}}`, `"now":"2026-03-02T14:15:03Z","items":[{"kind":"container","id":"i",` +
		`"name":"n","reason":"r","dir":"d","bytes":1,"action":"remove"}]`},
	{&copyjob.Kind{}, 1, `{"containers":{"all":true},"to":"offsite"}`,
		`"items":[{"kind":"container","id":"i","name":"n","reason":"r","dir":"d","named":true}]`},
}

func specOf(t testing.TB, kind job.Kind, request string) job.Spec {
	t.Helper()
	ev := event.New()
	if err := ev.SetData(event.ApplicationJSON, json.RawMessage(request)); err != nil {
		t.Fatal(err)
	}
	s, err := kind.Parse(job.Request{Event: ev})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stored(form int, members string) []byte {
	return fmt.Appendf(nil, `{"version":%d,"time":"2026-03-02T14:15:03Z",%s}`, form, members)
}

// What an earlier worker planned is read whole, whatever the kind; what a later one
// planned is told from what is damaged.
func TestStoredPlans(t *testing.T) {
	for _, c := range planned {
		s := specOf(t, c.kind, c.request)
		raw := stored(c.form, c.plan)
		p, err := s.DecodePlan(raw)
		if err != nil || len(p.Public().Items) != 1 || p.Made().IsZero() {
			t.Errorf("%s: %s is read as %+v, %v", c.kind.Name(), raw, p, err)
			continue
		}
		if again, err := json.Marshal(p); err != nil || !reflect.DeepEqual(members(t, again), members(t, raw)) {
			t.Errorf("%s: %s comes back as %s, %v", c.kind.Name(), raw, again, err)
		}
		for text, want := range map[string]error{
			string(stored(c.form, c.plan+`,"later":true`)): nil,
			string(stored(c.form+1, c.plan)):               ledger.ErrNewer,
			string(stored(99, `"items":"another form"`)):   ledger.ErrNewer,
			string(stored(0, c.plan)):                      ledger.ErrDamaged,
			string(stored(-1, c.plan)):                     ledger.ErrDamaged,
			string(stored(c.form, `"items":{}`)):           ledger.ErrDamaged,
			`{}`:                                           ledger.ErrDamaged,
			``:                                             ledger.ErrDamaged,
			string(raw[:len(raw)-1]):                       ledger.ErrDamaged,
		} {
			if _, err := s.DecodePlan([]byte(text)); !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", c.kind.Name(), text, err, want)
			}
		}
	}
}

func members(t *testing.T, raw []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The stop order of a backup names items of the plan.
func TestStoredStopOrder(t *testing.T) {
	s := specOf(t, planned[0].kind, planned[0].request)
	if _, err := s.DecodePlan(stored(1, `"items":[],"stopOrder":[0]`)); !errors.Is(err, ledger.ErrDamaged) {
		t.Error(err)
	}
}

// FuzzDecodePlan: what is no plan is told from one of a newer version, and never
// panics.
func FuzzDecodePlan(f *testing.F) {
	var specs []job.Spec
	for _, c := range planned {
		f.Add(stored(c.form, c.plan))
		specs = append(specs, specOf(f, c.kind, c.request))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, s := range specs {
			p, err := s.DecodePlan(raw)
			switch {
			case err == nil:
				p.Public()
				if _, err := json.Marshal(p); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ledger.ErrNewer) && !errors.Is(err, ledger.ErrDamaged):
				t.Errorf("%v is neither newer nor damaged", err)
			}
		}
	})
}
