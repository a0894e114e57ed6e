package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

var asked = ledger.Request{Job: "job1", Digest: "d1", Reply: "$JS.ACK.1", Stored: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}

// workers returns jobs of one host as several workers see them.
func workers(store ledger.Store, owners ...string) []*ledger.Jobs {
	var all []*ledger.Jobs
	for _, o := range owners {
		all = append(all, &ledger.Jobs{Store: store, Host: "web01", Owner: o})
	}
	return all
}

func claim(t *testing.T, j *ledger.Jobs, r ledger.Request) *ledger.Claim {
	t.Helper()
	c, err := j.Claim(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAJobIsCarriedOnFromWhereItIs(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a", "b")
	plan := bytes.Repeat([]byte("0123456789abcdef"), 50_000) // of several entries

	first := claim(t, w[0], asked)
	if !first.New() || first.Attempt() != 1 || first.Plan() != nil {
		t.Errorf("the first claim: new %v, attempt %d, plan of %d bytes", first.New(), first.Attempt(), len(first.Plan()))
	}
	must(t, first.SetPlan(t.Context(), plan))
	must(t, first.Begin(t.Context(), 0, []byte(`{"n":0}`)))
	must(t, first.Begin(t.Context(), 1, []byte(`{"n":1}`)))
	if _, err := first.EndItem(t.Context(), 0, []byte("zero")); err != nil {
		t.Fatal(err)
	}

	later := asked
	later.Reply, later.Stored = "$JS.ACK.2", asked.Stored.Add(time.Hour)
	second := claim(t, w[1], later)
	if second.New() || second.Attempt() != 2 || !second.Began().Equal(first.Began()) || !second.Stored().Equal(asked.Stored) {
		t.Errorf("the second claim: new %v, attempt %d, began %s, stored %s", second.New(), second.Attempt(), second.Began(), second.Stored())
	}
	if !bytes.Equal(second.Plan(), plan) {
		t.Errorf("a plan of %d bytes came back with %d", len(plan), len(second.Plan()))
	}
	if got := second.Outcomes(); len(got) != 1 || string(got[0]) != "zero" {
		t.Errorf("outcomes: %v", got)
	}
	if got := second.Begun()[1]; got.Tries != 1 || string(got.Record) != `{"n":1}` {
		t.Errorf("item 1 was begun as %+v", got)
	}
	stands, err := second.End(t.Context(), []byte(`{"end":1}`))
	must(t, err)
	if string(stands) != `{"end":1}` {
		t.Errorf("it ended with %s", stands)
	}
	third := claim(t, w[1], asked)
	if string(third.Terminal()) != `{"end":1}` || third.Attempt() != 2 || len(third.Plan()) != len(plan) {
		t.Errorf("a job that ended: %s, attempt %d", third.Terminal(), third.Attempt())
	}
}

func TestWhoLostAJobChangesNothing(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a", "b")
	old := claim(t, w[0], asked)
	claim(t, w[1], asked)
	_, ended := old.End(t.Context(), []byte(`"mine"`))
	for what, err := range map[string]error{
		"plan":    old.SetPlan(t.Context(), []byte("p")),
		"begin":   old.Begin(t.Context(), 0, nil),
		"put off": old.PutOff(t.Context(), true),
		"end":     ended,
	} {
		if !errors.Is(err, ledger.ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	job, err := w[1].Get(t.Context(), asked.Job)
	if err != nil || job.Owner != "b" || job.Attempt != 2 || job.Parts != 0 || len(job.End) != 0 {
		t.Errorf("the job is %+v, %v", job, err)
	}
}

func TestTheFirstOutcomeStands(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a", "b")
	old := claim(t, w[0], asked)
	now := claim(t, w[1], asked)
	stands, err := now.EndItem(t.Context(), 3, []byte("stored"))
	if err != nil || string(stands) != "stored" {
		t.Errorf("%q stands, %v", stands, err)
	}
	stands, err = old.EndItem(t.Context(), 3, []byte("failed"))
	if err != nil || string(stands) != "stored" {
		t.Errorf("after another one's outcome %q stands, %v", stands, err)
	}
}

func TestAnotherRequestWithTheSameID(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a")
	claim(t, w[0], asked)
	other := asked
	other.Digest = "d2"
	if _, err := w[0].Claim(t.Context(), other); !errors.Is(err, ledger.ErrReused) {
		t.Errorf("claimed with another digest: %v", err)
	}
	if job, err := w[0].Get(t.Context(), asked.Job); err != nil || job.Attempt != 1 {
		t.Errorf("the job was disturbed: %+v, %v", job, err)
	}
}

func TestTriesCountOnlyWhatEndsWithoutAWord(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a")
	for want := range 3 {
		c := claim(t, w[0], asked)
		if got := c.Begun()[0].Tries; got != want {
			t.Errorf("after %d deaths: %d tries", want, got)
		}
		must(t, c.Begin(t.Context(), 0, []byte("{}")))
	}
	c := claim(t, w[0], asked)
	must(t, c.PutOff(t.Context(), true))
	if got := c.Begun()[0]; got.Tries != 0 || string(got.Record) != "{}" {
		t.Errorf("after it was put off: %+v; its record must stay", got)
	}
	since := c.AwaySince()
	must(t, c.PutOff(t.Context(), true))
	if since.IsZero() || !c.AwaySince().Equal(since) {
		t.Errorf("away since %s, then %s", since, c.AwaySince())
	}
	if _, err := c.EndItem(t.Context(), 0, []byte("x")); err != nil || !c.AwaySince().IsZero() {
		t.Errorf("after an item ended: away since %s, %v", c.AwaySince(), err)
	}
}

func TestCancel(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a")
	for range 2 { // before the job has come
		if _, err := w[0].Cancel(t.Context(), asked.Job); err != nil {
			t.Fatal(err)
		}
	}
	c := claim(t, w[0], asked)
	if !c.Cancelled() || !c.New() {
		t.Errorf("cancelled %v, new %v", c.Cancelled(), c.New())
	}
	other := asked
	other.Job = "job2"
	running := claim(t, w[0], other)
	if _, err := w[0].Cancel(t.Context(), other.Job); err != nil { // while it runs
		t.Fatal(err)
	}
	must(t, running.Begin(t.Context(), 0, nil)) // it is still this worker's
	if _, err := running.End(t.Context(), []byte(`"end"`)); err != nil {
		t.Fatal(err)
	}
	if end, err := w[0].Cancel(t.Context(), other.Job); !errors.Is(err, ledger.ErrEnded) || string(end) != `"end"` {
		t.Errorf("after its end: %s, %v", end, err)
	}
}

func TestUnsettledJobs(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a")
	for i := range 3 {
		r := asked
		r.Job = fmt.Sprintf("job%d", i)
		c := claim(t, w[0], r)
		if i == 1 {
			if _, err := c.End(t.Context(), []byte(`"end"`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w[0].Cancel(t.Context(), "waits"); err != nil {
		t.Fatal(err)
	}
	for within, want := range map[time.Duration]string{0: "[job0 job2]", time.Hour: "[job0 job1 job2]"} {
		var got []string
		for job, err := range w[0].Unsettled(t.Context(), within) {
			must(t, err)
			got = append(got, job.ID)
		}
		slices.Sort(got) // a store lists in any order
		if fmt.Sprint(got) != want {
			t.Errorf("unsettled within %s: %v, want %s", within, got, want)
		}
	}
}

func TestAFullLedgerForgetsWhatEndedFirst(t *testing.T) {
	memory := &bounded{Memory: ledgertest.NewMemory(), room: 12}
	w := workers(&ledger.Forgetful{Store: memory, Host: "web01", Log: zaptest.NewLogger(t)}, "a")
	open := claim(t, w[0], asked)
	for i := range 30 {
		r := asked
		r.Job = fmt.Sprintf("other%d", i)
		c := claim(t, w[0], r)
		must(t, c.SetPlan(t.Context(), []byte("p")))
		if _, err := c.EndItem(t.Context(), 0, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.End(t.Context(), []byte(`"end"`)); err != nil {
			t.Fatal(err)
		}
	}
	must(t, open.Begin(t.Context(), 0, nil))
	if _, err := w[0].Get(t.Context(), "other0"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("the oldest: %v", err)
	}
	if _, err := w[0].Get(t.Context(), "other29"); err != nil {
		t.Errorf("the newest: %v", err)
	}
	memory.room = 1
	// What is open is never forgotten, so there is no room for another.
	if _, err := w[0].Claim(t.Context(), ledger.Request{Job: "more", Digest: "d"}); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a ledger full of open jobs: %v", err)
	}
}

// bounded is a store with room for a few entries.
type bounded struct {
	*ledgertest.Memory
	room int
}

func (b *bounded) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	entries := 0
	for _, err := range b.List(ctx, ">") {
		if err != nil {
			return 0, err
		}
		entries++
	}
	if expected == 0 && entries >= b.room {
		return 0, ledger.ErrFull
	}
	return b.Memory.Put(ctx, key, value, expected, ttl)
}

// The head does not grow with the number of items.
func TestThousandsOfItemsAreBegun(t *testing.T) {
	memory := ledgertest.NewMemory()
	w := workers(memory, "a", "b")
	c := claim(t, w[0], asked)
	record := []byte(`"` + strings.Repeat("r", 600) + `"`)
	for i := range 3000 {
		must(t, c.Begin(t.Context(), i, record))
	}
	for e, err := range memory.List(t.Context(), ">") {
		must(t, err)
		if len(e.Value) > 1024 {
			t.Errorf("the entry %s has %d bytes", e.Key, len(e.Value))
		}
	}
	begun, err := w[1].Begun(t.Context(), asked.Job)
	if err != nil || len(begun) != 3000 || string(begun[2999].Record) != string(record) {
		t.Errorf("%d items are begun, %v", len(begun), err)
	}
	if got := len(claim(t, w[1], asked).Begun()); got != 3000 {
		t.Errorf("the next attempt finds %d of them", got)
	}
}

func TestATooLargeRecord(t *testing.T) {
	c := claim(t, workers(ledgertest.NewMemory(), "a")[0], asked)
	err := c.Begin(t.Context(), 0, bytes.Repeat([]byte("1"), ledger.MaxRecordBytes+1))
	if !errors.Is(err, ledger.ErrTooLarge) || len(c.Begun()) != 0 {
		t.Errorf("%v; begun are %d items", err, len(c.Begun()))
	}
}

// An item that is begun before its record is known stays one try, and keeps what
// earlier attempts left.
func TestBegunTwiceInOneAttempt(t *testing.T) {
	w := workers(ledgertest.NewMemory(), "a")
	c := claim(t, w[0], asked)
	must(t, c.Begin(t.Context(), 0, []byte(`"first"`)))
	c = claim(t, w[0], asked)
	must(t, c.Begin(t.Context(), 0, nil))
	if got := c.Begun()[0]; got.Tries != 2 || string(got.Record) != `"first"` {
		t.Errorf("it is begun as %+v", got)
	}
	must(t, c.Begin(t.Context(), 0, []byte(`"second"`)))
	if got := c.Begun()[0]; got.Tries != 2 || string(got.Record) != `"second"` {
		t.Errorf("it is begun as %+v", got)
	}
}

// What a newer version wrote is left as it is, byte for byte.
func TestANewerVersionsEntries(t *testing.T) {
	for _, key := range []string{"job", "begun.0"} {
		memory := ledgertest.NewMemory()
		w := workers(memory, "a")
		c := claim(t, w[0], asked)
		must(t, c.Begin(t.Context(), 0, nil))
		key = "web01.job1." + key
		_, revision, err := memory.Get(t.Context(), key)
		must(t, err)
		newer := `{"version":2,"digest":"d1","helpers":["x"]}`
		_, err = memory.Put(t.Context(), key, []byte(newer), revision, 0)
		must(t, err)
		if _, err := w[0].Claim(t.Context(), asked); !errors.Is(err, ledger.ErrNewer) {
			t.Errorf("%s: claimed with %v", key, err)
		}
		if err := c.Begin(t.Context(), 0, nil); err == nil {
			t.Errorf("%s: the item was begun", key)
		}
		if raw, _, err := memory.Get(t.Context(), key); err != nil || string(raw) != newer {
			t.Errorf("%s is %s now, %v", key, raw, err)
		}
	}
}

// A job of which something is damaged can still be claimed, to be ended.
func TestADamagedEntry(t *testing.T) {
	memory := ledgertest.NewMemory()
	w := workers(memory, "a")
	c := claim(t, w[0], asked)
	must(t, c.SetPlan(t.Context(), []byte("plan")))
	must(t, memory.Delete(t.Context(), "web01.job1.plan.0"))
	_, err := memory.Put(t.Context(), "web01.job1.begun.0", []byte("{"), 0, 0)
	must(t, err)
	c = claim(t, w[0], asked)
	if err := c.Damaged(); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("it is claimed with %v", err)
	}
	_, err = c.End(t.Context(), []byte(`"end"`))
	must(t, err)
}

// The same holds for the job's own entry, whether it is claimed or cancelled first; what
// earlier attempts began is still known.
func TestADamagedHead(t *testing.T) {
	for _, damage := range []string{"{", `{"version":1,"attempt":"x"}`, `{"version":0}`} {
		for _, cancelled := range []bool{false, true} {
			memory := ledgertest.NewMemory()
			w := workers(memory, "a")
			c := claim(t, w[0], asked)
			must(t, c.SetPlan(t.Context(), []byte("plan")))
			must(t, c.Begin(t.Context(), 0, []byte(`"record"`)))
			_, revision, err := memory.Get(t.Context(), "web01.job1.job")
			must(t, err)
			_, err = memory.Put(t.Context(), "web01.job1.job", []byte(damage), revision, 0)
			must(t, err)
			if cancelled {
				_, err := w[0].Cancel(t.Context(), asked.Job)
				must(t, err)
			}
			c = claim(t, w[0], asked)
			if c.Cancelled() != cancelled || errors.Is(c.Damaged(), ledger.ErrDamaged) == cancelled {
				t.Errorf("%s: it is claimed with %v, cancelled %v, want cancelled %v", damage, c.Damaged(), c.Cancelled(), cancelled)
			}
			if string(c.Begun()[0].Record) != `"record"` {
				t.Errorf("%s: what was begun is %v", damage, c.Begun())
			}
			_, err = c.End(t.Context(), []byte(`"end"`))
			must(t, err)
			if c := claim(t, w[0], asked); string(c.Terminal()) != `"end"` {
				t.Errorf("%s: it ended with %s", damage, c.Terminal())
			}
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte(`{"version":1,"digest":"d","end":"x"}`))
	f.Add([]byte(`{"version":1,"parts":-1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		memory := ledgertest.NewMemory()
		if _, err := memory.Put(t.Context(), "web01.job1.job", raw, 0, 0); err != nil {
			t.Fatal(err)
		}
		w := workers(memory, "a")
		for _, err := range w[0].Unsettled(t.Context(), time.Hour) {
			_ = err
		}
		if _, err := w[0].Claim(t.Context(), asked); err == nil {
			if _, err := w[0].Cancel(t.Context(), asked.Job); err != nil && !errors.Is(err, ledger.ErrEnded) {
				t.Errorf("claimed, but not to be cancelled: %v", err)
			}
		}
	})
}

func TestAJobOfAnyHostHasOneEntry(t *testing.T) {
	store := ledgertest.NewMemory()
	web := &ledger.Jobs{Store: store, Host: "web01", Owner: "a"}
	db := &ledger.Jobs{Store: store, Host: "db01", Owner: "b"}
	if _, err := claim(t, web.Of("any"), asked).End(t.Context(), []byte(`"ended"`)); err != nil {
		t.Fatal(err)
	}
	if again := claim(t, db.Of("any"), asked); string(again.Terminal()) != `"ended"` {
		t.Errorf("the other host finds %q", again.Terminal())
	}
	if _, err := web.Get(t.Context(), asked.Job); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("among the host's own: %v", err)
	}
}
