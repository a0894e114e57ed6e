package retention

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

var base = time.Date(2024, 12, 20, 22, 30, 0, 0, time.UTC)

// at is a point so many days and hours after base.
func at(days, hours int) Point {
	when := base.AddDate(0, 0, days).Add(time.Duration(hours) * time.Hour)
	id := when.Format("20060102T150405Z") + fmt.Sprintf("-%04x%04x", days, hours)
	return Point{Group: Group{"web01", events.ItemContainer, "web-1"}, ID: id, Dir: "points/web01/container/web-1/" + id}
}

// anyPoints makes points of a few groups that have everything that counts.
func anyPoints(r *rand.Rand) []Point {
	points := make([]Point, r.IntN(40))
	for i := range points {
		p := at(r.IntN(500), r.IntN(24))
		p.Name = []string{"web-1", "db"}[r.IntN(2)]
		p.Dir += fmt.Sprint("-", i)
		p.Parts = map[string]int64{"image": 1000 + r.Int64N(200)}
		if r.IntN(40) == 0 {
			p.Parts["image"] = 10
		}
		p.Verified = []Verification{"", "", "", Passed, Passed, Failed}[r.IntN(6)]
		p.Tags = map[string]string{"reason": []string{"nightly", "pre-deploy"}[r.IntN(2)]}
		switch r.IntN(12) {
		case 0:
			p.Protected = "by somebody"
		case 1:
			p.UsedBy = "a restore"
		case 2:
			p.Problem = "damaged"
		case 3:
			p.Hidden = &Hidden{Until: base.AddDate(0, 0, 300+r.IntN(200))}
		}
		points[i] = p
	}
	return points
}

func anyPolicy(r *rand.Rand) Policy {
	n := func() int { return max(0, r.IntN(10)-4) }
	p := Policy{Last: n(), Hourly: n(), Daily: n(), Weekly: n(), Monthly: n(), Yearly: n(), Within: time.Duration(n()) * 24 * time.Hour}
	if r.IntN(8) == 0 {
		p.Tags = []string{"reason=pre-deploy"}
	}
	if p.Empty() {
		p.Last = 1
	}
	return p
}

// actions are what becomes of the points, by their folders.
func actions(verdicts []Verdict) map[string]Action {
	of := map[string]Action{}
	for _, v := range verdicts {
		for _, d := range v.Points {
			of[d.Dir] = d.Action
		}
	}
	return of
}

var now = base.AddDate(0, 0, 480)

// many runs a check for many random worlds, which a failure names by their seed.
func many(t *testing.T, check func(t *testing.T, r *rand.Rand, points []Point, p Policy)) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 8))
		check(t, r, anyPoints(r), anyPolicy(r))
		if t.Failed() {
			t.Fatalf("the seed is %d", seed)
		}
	}
}

// Whatever the policy, what must stay stays; every point gets one decision, with a
// reason.
func TestAlwaysKept(t *testing.T) {
	many(t, func(t *testing.T, _ *rand.Rand, points []Point, p Policy) {
		verdicts := Decide(now, p, points)
		decided := 0
		for _, v := range verdicts {
			decided += len(v.Points)
			newest, passed := false, false // seen
			for _, d := range v.Points {
				gone := d.Action == Remove || d.Action == Erase
				if len(d.Reasons) == 0 {
					t.Errorf("%s: no reason", d.Dir)
				}
				if gone && v.Held != "" {
					t.Errorf("%s goes, and its group is held back", d.Dir)
				}
				when, err := events.PointTime(d.ID)
				if err != nil {
					t.Fatal(err)
				}
				if gone && (d.Problem != "" || d.Protected != "" || d.UsedBy != "" || when.After(now)) {
					t.Errorf("%s goes: %+v", d.Dir, d)
				}
				if d.Hidden != nil || d.Problem != "" || when.After(now) {
					continue
				}
				if gone && (!newest || d.Verified == Passed && !passed) {
					t.Errorf("%s goes, and is the newest of all or that passed", d.Dir)
				}
				newest, passed = true, passed || d.Verified == Passed
			}
		}
		if decided != len(points) {
			t.Errorf("%d decisions for %d points", decided, len(points))
		}
	})
}

// What is decided is the same in whatever order the points come.
func TestOrderDoesNotCount(t *testing.T) {
	many(t, func(t *testing.T, r *rand.Rand, points []Point, p Policy) {
		shuffled := slices.Clone(points)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if one, other := Decide(now, p, points), Decide(now, p, shuffled); !reflect.DeepEqual(one, other) {
			t.Errorf("%s\n%s", show(one), show(other))
		}
	})
}

// Once it is done, there is nothing left to do: whether what was removed is hidden or
// gone.
func TestIdempotent(t *testing.T) {
	many(t, func(t *testing.T, _ *rand.Rand, points []Point, p Policy) {
		first := actions(Decide(now, p, points))
		var hidden, gone []Point
		for _, pt := range points {
			switch first[pt.Dir] {
			case Remove:
				pt.Hidden = &Hidden{Until: now.Add(time.Hour)}
				hidden = append(hidden, pt)
			case Erase:
			default:
				hidden, gone = append(hidden, pt), append(gone, pt)
			}
		}
		for what, left := range map[string][]Point{"hidden": hidden, "gone": gone} {
			for dir, action := range actions(Decide(now, p, left)) {
				if action == Remove || action == Erase {
					t.Errorf("%s is to %s once the others are %s", dir, action, what)
				}
			}
		}
	})
}

// To keep more never removes what would have been kept.
func TestMonotone(t *testing.T) {
	many(t, func(t *testing.T, r *rand.Rand, points []Point, p Policy) {
		more := p
		for _, n := range []*int{&more.Last, &more.Hourly, &more.Daily, &more.Weekly, &more.Monthly, &more.Yearly} {
			*n += r.IntN(3)
		}
		more.Within += time.Duration(r.IntN(3)) * time.Hour
		fewer := actions(Decide(now, p, points))
		for dir, action := range actions(Decide(now, more, points)) {
			if (action == Remove || action == Erase) && fewer[dir] != action {
				t.Errorf("%s is to %s with %+v, and to %s with %+v", dir, action, more, fewer[dir], p)
			}
		}
	})
}

// To protect a point costs no other one, unless the group was held back before.
func TestProtectCostsNoOther(t *testing.T) {
	many(t, func(t *testing.T, r *rand.Rand, points []Point, p Policy) {
		if len(points) == 0 {
			return
		}
		before := Decide(now, p, points)
		points[r.IntN(len(points))].Protected = "by me"
		after := actions(Decide(now, p, points))
		for _, v := range before {
			for _, d := range v.Points {
				if v.Held == "" && d.Action == Keep && after[d.Dir] != Keep && after[d.Dir] != Hold {
					t.Errorf("%s is to %s", d.Dir, after[d.Dir])
				}
			}
		}
	})
}

// A gap in the backups costs no point: however long there was none, the same stay.
func TestAGapKeepsPoints(t *testing.T) {
	p := Policy{Daily: 5, Weekly: 2}
	var points []Point
	for day := range 30 {
		points = append(points, at(day, 0))
	}
	soon := show(Decide(base.AddDate(0, 0, 30), p, points))
	late := show(Decide(base.AddDate(7, 0, 30), p, points))
	if soon != late {
		t.Errorf("after seven years without a backup the decisions are\n%s\nand were\n%s", late, soon)
	}
}

// FuzzDecide: whatever the ids and sizes, there is a decision for each point, and
// deciding again decides the same.
func FuzzDecide(f *testing.F) {
	f.Add("20260302T141503Z-441e7818", "20260302T141504Z-441e7819", "", int64(5), 3, int64(time.Hour))
	f.Add("x", "99991231T235959Z-00000000", "00010101T000000Z-ffffffff", int64(-1), -1, int64(-1))
	f.Fuzz(func(t *testing.T, a, b, c string, size int64, n int, within int64) {
		p := Policy{Last: n, Weekly: n, Within: time.Duration(within), Tags: []string{a}}
		points := []Point{
			{ID: a, Dir: "a", Parts: map[string]int64{"image": size}, Verified: Passed},
			{ID: b, Dir: "b", Parts: map[string]int64{"image": 1}, Tags: map[string]string{a: b}},
			{ID: c, Dir: "c", Verified: Failed, Hidden: &Hidden{}},
		}
		once := Decide(now, p, points)
		if len(actions(once)) != len(points) {
			t.Errorf("%d points, and the decisions\n%s", len(points), show(once))
		}
		if again := Decide(now, p, points); !reflect.DeepEqual(once, again) {
			t.Errorf("%s\n%s", show(once), show(again))
		}
	})
}
