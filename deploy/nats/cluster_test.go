package nats_test

import (
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

// TestClusterCarriesARound has the worker connect to each server in turn, and
// everybody else to the others: what is asked, answered and followed crosses from
// one server to another, wherever a stream has its leader.
func TestClusterCarriesARound(t *testing.T) {
	f := newCluster(t)
	for i := range f.servers {
		here, there, elsewhere := f.at(i), f.at((i+1)%3), f.at((i+2)%3)
		worker, wire := here.bus(web01), here.connect(web01)
		heard := elsewhere.connect(observer).subscribe("holdfast.evt.>")
		for n, subject := range []string{events.HostSubject(events.Backup, "web01"), events.AllSubject(events.Backup)} {
			publish(t, there.bus(publisher), subject)
			m := take(t, consume.Work(worker, "web01")[n])
			wire.must(m.Reply, "+WPI")
			wire.put("$KV.HOLDFAST_JOBS.web01.job"+newEvent("x").ID()+".job", "head", 0)
			if got := wire.stored("KV_HOLDFAST_JOBS", `{"seq":1,"next_by_subj":"$KV.HOLDFAST_JOBS.web01.>"}`); string(got.Data) != "head" {
				t.Errorf("the ledger holds %+v", got)
			}
			completed := events.EventSubject("web01", "job", "io.holdfast.backup.completed.v1")
			if err := worker.PublishEvent(within(t, bustest.Patience), completed, newEvent("io.holdfast.backup.completed.v1")); err != nil {
				t.Error(err)
			}
			if got := next(t, heard); got.Subject != completed {
				t.Errorf("heard %s", got.Subject)
			}
			if err := m.Done(within(t, bustest.Patience)); err != nil {
				t.Error(err)
			}
		}
		there.connect(publisher).stored(events.StreamEvents, `{"seq":1,"next_by_subj":"holdfast.evt.*.job.>"}`)
		elsewhere.connect(db01).refused(t, "holdfast.evt.web01.job.backup.completed")
	}
}
