package inuse_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var point = inuse.Point{Sink: "5f0c", ID: "20260302T141503Z-441e7818"}

func register(t *testing.T, r *inuse.Registry, p inuse.Point, job string) (release func()) {
	t.Helper()
	release, err := r.Register(t.Context(), p, job)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func userOf(t *testing.T, r *inuse.Registry, p inuse.Point) string {
	t.Helper()
	user, err := r.UserOf(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// A host sees what jobs of another one use, for as long as they do.
func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		reads, prunes := &inuse.Registry{Locks: locks, Host: "web01"}, &inuse.Registry{Locks: locks, Host: "db01"}
		if user := userOf(t, prunes, point); user != "" {
			t.Errorf("it is in use by %q at first", user)
		}
		release := register(t, reads, point, "job1")
		other := register(t, reads, point, "job2")
		time.Sleep(time.Minute) // it is renewed
		if user := userOf(t, prunes, point); user != "job job1 of host web01" && user != "job job2 of host web01" {
			t.Errorf("it is in use by %q", user)
		}
		users, err := prunes.Users(t.Context(), point.Sink)
		if err != nil || len(users) != 1 || users[point.ID] == "" {
			t.Errorf("in use are %q, %v", users, err)
		}
		for _, p := range []inuse.Point{{Sink: "other", ID: point.ID}, {Sink: point.Sink, ID: "20260302T141503Z-00000000"}} {
			if user := userOf(t, prunes, p); user != "" {
				t.Errorf("%v is in use by %q", p, user)
			}
		}
		release()
		if user := userOf(t, prunes, point); user != "job job2 of host web01" {
			t.Errorf("it is in use by %q, want by the second job", user)
		}
		other()
		if user := userOf(t, prunes, point); user != "" {
			t.Errorf("it is in use by %q at last", user)
		}
	})
}

// What a worker that died used is free some seconds later; while the server is away
// nothing is lost.
func TestRegistrationLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		r := &inuse.Registry{Locks: locks, Host: "web01"}
		if _, err := locks.Put(t.Context(), "point.web02.5f0c."+point.ID+".job1", nil, 0, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		release := register(t, r, inuse.Point{Sink: "5f0c", ID: "20260302T141503Z-00000000"}, "job2")
		locks.SetAway(true)
		time.Sleep(time.Minute)
		locks.SetAway(false)
		time.Sleep(5 * time.Second)
		if user := userOf(t, r, point); user != "" {
			t.Errorf("what a dead worker used is in use by %q", user)
		}
		if user := userOf(t, r, inuse.Point{Sink: "5f0c", ID: "20260302T141503Z-00000000"}); user == "" {
			t.Error("what is used is not registered any more")
		}
		locks.SetAway(true)
		release() // does not hang
		locks.SetAway(false)
	})
}

func TestRegisterRefusesWhatIsNoKey(t *testing.T) {
	r := &inuse.Registry{Locks: ledgertest.NewMemory(), Host: "web01"}
	if _, err := r.Register(t.Context(), inuse.Point{Sink: "5f0c", ID: "a b"}, "job"); err == nil {
		t.Error("it was registered")
	}
	if _, _, err := r.Alone(t.Context(), "a b"); err == nil {
		t.Error("it was had alone")
	}
}

// One process at a time has a sink alone, for as long as the message server knows of it.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		one, two := &inuse.Registry{Locks: locks, Host: "web01"}, &inuse.Registry{Locks: locks, Host: "db01"}
		taken := func(want bool) {
			t.Helper()
			_, release, err := two.Alone(t.Context(), point.Sink)
			if errors.Is(err, inuse.ErrTaken) != want || err != nil && !want {
				t.Errorf("the other one gets %v", err)
			}
			if err == nil {
				release()
			}
		}
		alone, release, err := one.Alone(t.Context(), point.Sink)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // it is renewed
		taken(true)
		if _, other, err := two.Alone(t.Context(), "other"); err != nil {
			t.Error(err)
		} else {
			other()
		}
		release()
		if alone.Err() == nil {
			t.Error("it goes on")
		}
		taken(false)

		if alone, release, err = one.Alone(t.Context(), point.Sink); err != nil {
			t.Fatal(err)
		}
		locks.SetAway(true)
		time.Sleep(5 * time.Second)
		if alone.Err() != nil {
			t.Error("it ends while nobody else can have it")
		}
		time.Sleep(4 * time.Second)
		if alone.Err() == nil {
			t.Error("it goes on when others are about to have it")
		}
		time.Sleep(10 * time.Second)
		locks.SetAway(false)
		taken(false)
		_, mine, err := two.Alone(t.Context(), point.Sink)
		if err != nil {
			t.Fatal(err)
		}
		release() // leaves the other one's
		if _, _, err := one.Alone(t.Context(), point.Sink); !errors.Is(err, inuse.ErrTaken) {
			t.Errorf("it is taken away: %v", err)
		}
		mine()
	})
}
