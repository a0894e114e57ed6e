package undo_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
)

// commit commits a container as the attempt of a record does, and returns when the
// Engine has begun. It ends some time later, whoever waits for it.
func (b *bench) commit(n undo.Record, takes time.Duration) {
	b.Helper()
	gone := errors.New("its client is gone")
	if takes > 0 {
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: n.Item.ID, Err: gone, GoesOn: takes})
	}
	_, err := b.engine.Commit(b.Context(), n.Item.ID, engine.CommitOptions{
		Reference: snapshot(n), Comment: engine.SnapshotComment(snapshot(n)), Pause: pausesByCommit(n)})
	if err != nil && takes == 0 {
		b.Fatal(err)
	}
}

// adopt gives records to the sweeper of a worker that starts.
func (b *bench) adopt(whole bool, records ...undo.Record) {
	b.Helper()
	for _, n := range records {
		if err := b.sweeper.Adopt(b.Context(), n, whole); err != nil {
			b.Fatal(err)
		}
	}
}

// A pause of our own ends though the Engine's answer about the container cannot be
// read; one of a commit, which may go on, does not.
func TestSweeperUnpausesWhatItCannotRead(t *testing.T) {
	for name, held := range map[string]bool{"held": true, "by a commit": false} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				r := b.died(id, 1, events.QuiescePause)
				if held {
					hold(&r)
				}
				b.engine.Freeze(id)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, On: id, Times: 1000, Err: engine.ErrBadAnswer})
				b.adopt(true, r)
				time.Sleep(time.Second)
				want := map[bool]events.State{true: events.StateRunning, false: events.StatePaused}[held]
				if got := b.engine.State(id); got != want {
					b.Errorf("after a second the container is %q, want %q", got, want)
				}
				time.Sleep(time.Minute)
				if got := b.engine.State(id); got != want {
					b.Errorf("after a minute the container is %q, want %q", got, want)
				}
				calls := b.engine.Calls(enginetest.Unpause)
				time.Sleep(time.Minute)
				if again := b.engine.Calls(enginetest.Unpause) - calls; again > 0 {
					b.Errorf("it was unpaused %d times more", again)
				}
				for range 1000 - b.engine.Calls(enginetest.Inspect) + 1 { // from now on it can be read
					_, _ = b.engine.Inspect(b.Context(), id)
				}
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

// TestSweeperAndTheContainer holds what becomes of a container that a dead attempt
// quiesced, and after how long.
func TestSweeperAndTheContainer(t *testing.T) {
	const (
		running = events.StateRunning
		paused  = events.StatePaused
		exited  = events.StateExited
		pause   = events.QuiescePause
		stop    = events.QuiesceStop
	)
	cases := map[string]struct {
		before  events.State
		quiesce events.Quiesce
		// left is what the attempt did, and others after it.
		left func(b *bench, id string, n *undo.Record)
		want events.State
		took time.Duration // at most, until it is as it is wanted
	}{
		"nothing was done yet": {running, pause, func(*bench, string, *undo.Record) {}, running, 0},
		"its commit goes on": {running, pause, func(b *bench, _ string, n *undo.Record) { b.commit(*n, 8*time.Second) },
			running, 8 * time.Second},
		"its commit has ended": {running, pause, func(b *bench, _ string, n *undo.Record) { b.commit(*n, 0) }, running, 0},
		"the Engine left it paused": {running, pause, func(b *bench, id string, n *undo.Record) {
			b.commit(*n, 0)
			b.engine.Freeze(id)
		}, running, 8 * time.Second},
		"its commit died": {running, pause, func(b *bench, id string, _ *undo.Record) { b.engine.Freeze(id) }, running,
			5*time.Minute + 2*time.Second},
		"it was paused for itself": {running, pause, func(b *bench, id string, n *undo.Record) {
			hold(n)
			b.engine.Freeze(id)
		}, running, time.Second},
		"its user restarted and paused it": {running, pause, func(b *bench, id string, _ *undo.Record) {
			time.Sleep(time.Second)
			b.engine.Restart(id)
			b.engine.Freeze(id)
		}, paused, 0},
		"its user paused it before": {paused, pause, func(*bench, string, *undo.Record) {}, paused, 0},
		"it was not to be quiesced": {running, events.QuiesceNone,
			func(b *bench, id string, _ *undo.Record) { b.engine.Freeze(id) }, paused, 0},
		"its user paused it afterwards": {running, pause, resumedAndThen((*enginetest.Fake).Freeze), paused, 0},

		"it was stopped": {running, stop, func(b *bench, id string, _ *undo.Record) { b.engine.Kill(id) }, running, time.Second},
		"it is being stopped": {running, stop, func(b *bench, id string, _ *undo.Record) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Stop, During: func() { time.Sleep(9 * time.Second) }})
			go func() { _ = b.engine.Stop(b.Context(), id) }()
		}, running, 12 * time.Second},
		"its user started and stopped it": {running, stop, func(b *bench, id string, _ *undo.Record) {
			time.Sleep(time.Second)
			b.engine.Restart(id)
			b.engine.Kill(id)
		}, exited, 0},
		"its user stopped it before":     {exited, stop, func(*bench, string, *undo.Record) {}, exited, 0},
		"its user stopped it afterwards": {running, stop, resumedAndThen((*enginetest.Fake).Kill), exited, 0},
		"it waited for its restart": {events.StateRestarting, stop,
			func(b *bench, id string, _ *undo.Record) { b.engine.Set(id, exited) }, running, time.Second},
		"it is gone":                             {running, pause, func(b *bench, id string, _ *undo.Record) { b.engine.Remove(id) }, "", 0},
		"the Engine does not let it go at first": {running, pause, freezeAndFail(enginetest.Unpause), running, time.Minute},
		"the Engine fails to show it at first":   {running, pause, freezeAndFail(enginetest.Inspect), running, time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(c.before)
				n := b.died(id, 1, c.quiesce)
				c.left(b, id, &n)
				b.adopt(true, n)
				time.Sleep(c.took)
				synctest.Wait()
				if got := b.engine.State(id); got != c.want {
					b.Errorf("after %s the container is %q, want %q", c.took, got, c.want)
				}
				b.wantNothingLeft(id, c.want)
				if release, ok := b.sweeper.Locks.TryAcquire(undo.Container(id)); !ok {
					b.Error("its lock is held")
				} else {
					release()
				}
			})
		})
	}
}

// resumedAndThen is what a user does to a container that was resumed.
func resumedAndThen(do func(f *enginetest.Fake, id string)) func(b *bench, id string, n *undo.Record) {
	return func(b *bench, id string, n *undo.Record) {
		committed(n)
		do(b.engine, id)
	}
}

func freezeAndFail(op enginetest.Op) func(b *bench, id string, n *undo.Record) {
	return func(b *bench, id string, n *undo.Record) {
		hold(n)
		b.engine.Freeze(id)
		b.engine.Plan(enginetest.Fault{Op: op, Err: errors.New("broken"), Times: 3})
	}
}

// A snapshot is removed whenever it comes, and whether it has its name or not; no
// other image is.
func TestSweeperAndTheSnapshot(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Second, 9 * time.Minute} {
		for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceNone} {
			t.Run(fmt.Sprint(quiesce, takes), func(t *testing.T) {
				withBench(t, func(b *bench) {
					id := b.add(events.StateRunning)
					others, foreign := b.died(id, 12, quiesce), b.engine.AddImage()
					b.commit(others, 0)
					n := b.died(id, 1, quiesce)
					b.commit(n, takes)
					b.adopt(true, n)
					b.settle()
					if refs, want := b.engine.References(), []string{baseImage, snapshot(others)}; !slices.Equal(refs, want) {
						b.Errorf("the Engine has %q, want %q", refs, want)
					}
					if _, err := b.engine.InspectImage(b.Context(), foreign); err != nil {
						b.Errorf("somebody else's image: %v", err)
					}
				})
			})
		}
	}
	t.Run("without its name", func(t *testing.T) {
		withBench(t, func(b *bench) {
			id := b.add(events.StateRunning)
			n := b.died(id, 1, events.QuiescePause)
			b.commit(n, 0)
			other := b.engine.AddImage()
			b.engine.Tag(other, snapshot(n)) // moves the name
			if err := b.engine.RemoveImage(b.Context(), snapshot(n)); err != nil {
				b.Fatal(err)
			}
			b.adopt(true, n)
			b.wantNothingLeft(id, events.StateRunning)
		})
	})
}

// What is staged goes, also by an attempt at an image, and nothing else.
func TestSweeperAndTheSink(t *testing.T) {
	withBench(t, func(b *bench) {
		staged := undo.Staging{Sink: "default", Dir: point.Dir("host", events.ItemImage, "db", pointID), Name: "1"}
		n := undo.Record{Version: undo.Version, ID: undo.ID(pointID, 1), Job: jobID, Attempt: 1,
			Item: events.Item{Kind: events.ItemImage, ID: "sha256:x", Name: "db"}, Time: time.Now(), Actions: []undo.Action{{Unstage: &staged}}}
		for _, attempt := range []string{"1", "2"} {
			staging, err := b.sink.Stage(b.Context(), staged.Dir, attempt)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := staging.Create(b.Context(), "image.tar.zst", 0); err != nil {
				b.Fatal(err)
			}
		}
		b.sink.Fail(b, sinktest.OpUnstage, 1, sink.ErrUnavailable)
		b.sink.Fail(b, sinktest.OpUnstage, 2, errors.New("broken"))
		began := time.Now()
		b.adopt(true, n)
		b.settle()
		if took := time.Since(began); took > 10*time.Second {
			b.Errorf("it took %s", took)
		}
		if got := slices.Collect(maps.Keys(b.sink.Contents())); len(got) != 1 || got[0] != "staging/"+pointID+"-2/image.tar.zst" {
			b.Errorf("the sink holds %q, want the other attempt", got)
		}
	})
}

// What the sink keeps, as it is locked or may not be removed, is left there, and the record
// ends.
func TestSweeperLeavesWhatTheSinkKeeps(t *testing.T) {
	for _, why := range []error{&sink.LockedError{Place: "s3://b/x", Until: time.Now().Add(time.Hour)}, fmt.Errorf("s3://b/x: %w", sink.ErrMayNotRemove)} {
		withBench(t, func(b *bench) {
			n := undo.Record{Version: undo.Version, ID: undo.ID(pointID, 1), Job: jobID, Attempt: 1,
				Item: events.Item{Kind: events.ItemImage, ID: "sha256:x", Name: "db"}, Time: time.Now(), Actions: []undo.Action{{
					Unstage: &undo.Staging{Sink: "default", Dir: point.Dir("host", events.ItemImage, "db", pointID), Name: "1"}}}}
			fault := b.sink.Fail(b, sinktest.OpUnstage, 1, why)
			began := time.Now()
			b.adopt(true, n)
			b.settle()
			if took := time.Since(began); took >= 250*time.Millisecond || !fault.Hit() { // it is not tried again
				b.Errorf("it took %s, and the sink was asked: %t", took, fault.Hit())
			}
		})
	}
}

// A later attempt has the container: the earlier one's pause is not ended.
func TestSweeperLeavesTheContainerToALaterAttempt(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		b.commit(n, 0)
		b.engine.Freeze(id)
		b.adopt(false, n)
		if release, ok := b.sweeper.Locks.TryAcquire(undo.Container(id)); !ok {
			b.Error("the container is kept from the later attempt")
		} else {
			release()
		}
		b.wantNothingLeft(id, events.StatePaused)
	})
}

// Whatever is away is waited for, and neither the Engine nor the sink for the
// other.
func TestSweeperWaitsForWhatIsAway(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiesceStop)
		b.commit(n, 0)
		b.engine.Kill(id)
		if _, err := b.sink.Stage(b.Context(), staging(n).Dir, "1"); err != nil {
			b.Fatal(err)
		}
		b.engine.SetAway(true)
		b.adopt(true, n)
		time.Sleep(10 * time.Hour)
		if got := b.recorded(); !slices.Equal(got, b.sweeper.Left()) || len(got) != 1 {
			b.Errorf("the records are %q, and left are %q", got, b.sweeper.Left())
		}
		b.engine.SetAway(false)
		time.Sleep(11 * time.Second)
		b.wantNothingLeft(id, events.StateRunning)
	})
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiesceStop)
		staging(n).Sink = "gone"
		b.commit(n, 0)
		b.engine.Kill(id)
		b.adopt(true, n)
		time.Sleep(time.Hour)
		if got := b.sweeper.Left(); len(got) != 1 {
			b.Errorf("left are %q, want the record whose sink is not configured", got)
		}
		if got := b.engine.State(id); got != events.StateRunning || len(b.engine.Comments()) > 0 {
			b.Errorf("the container is %q, and there are snapshots: %q", got, b.engine.Comments())
		}
	})
}

// A fault of the program at one record does not end the process, and the record is
// retried.
func TestSweeperOutlivesAPanic(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		hold(&n)
		b.engine.Freeze(id)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, On: id, Times: 3, During: func() { panic("a fault") }})
		b.adopt(true, n)
		time.Sleep(time.Minute)
		b.wantNothingLeft(id, events.StateRunning)
	})
}

// A record that waits for a late image holds nobody up.
func TestRecordsAreUndoneEachOnItsOwn(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		waits := b.died(id, 1, events.QuiesceNone)
		other := b.died(id, 2, events.QuiescePause)
		b.engine.Freeze(id)
		hold(&other)
		b.adopt(true, waits, other)
		time.Sleep(time.Second)
		if got := b.engine.State(id); got != events.StateRunning {
			b.Errorf("the container is %q", got)
		}
		b.wantNothingLeft(id, events.StateRunning)
	})
}

// A record of the ledger is on disk before anything is undone, and what is on disk
// already counts: it may say that the container was resumed.
func TestSweeperWritesWhatItAdopts(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		b.store.FailWrites(errors.New("no room"))
		if err := b.sweeper.Adopt(b.Context(), n, true); err == nil {
			b.Error("a record that cannot be written is adopted")
		}
		if left := b.sweeper.Left(); len(left) > 0 {
			b.Errorf("left are %q", left)
		}
		b.store.FailWrites(nil)
		later := b.died(id, 1, events.QuiescePause)
		committed(&later)
		if err := b.store.Write(&later); err != nil {
			b.Fatal(err)
		}
		b.engine.Freeze(id) // by its user
		b.adopt(true, n)
		b.wantNothingLeft(id, events.StatePaused)
	})
}

// Of a commit that is known to have ended nothing can come: that is not waited for.
func TestSweeperIsQuickWhereItCanBe(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		committed(&n)
		b.adopt(true, n)
		synctest.Wait()
		if got := b.recorded(); len(got) > 0 {
			b.Errorf("the records are still %q", got)
		}
	})
}

func TestSweeperRemovesTheRecordInTheEnd(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiesceNone)
		committed(&n)
		b.store.FailRemoves(5, errors.New("broken"))
		b.adopt(true, n)
		b.wantNothingLeft(id, events.StateRunning)
	})
}

// What is not undone when a worker ends is undone by the next one.
func TestSweeperEnds(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		b.engine.Freeze(id)
		b.newWorker()
		b.adopt(true, n) // before it runs
		stop := b.sweep()
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			b.Errorf("it ended after %s", took)
		}
		if got := b.recorded(); len(got) != 1 {
			b.Errorf("the records are %q", got)
		}
		b.newWorker()
		defer b.sweep()()
		records, err := b.store.List()
		if err != nil {
			b.Fatal(err)
		}
		b.adopt(true, records...)
		b.wantNothingLeft(id, events.StateRunning)
	})
}
