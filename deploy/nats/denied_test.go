package nats_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

// denied is what no role may do but those in whose list it is left out: subjects
// that are published, by what they are for.
var denied = map[string][]string{
	"take requests of a host": {
		"$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.host_db01", "$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.cancel_db01",
		"$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_BROADCAST.host_db01", "$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_BROADCAST.cancel_db01",
	},
	"take requests to any host": {"$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.any"},
	"settle requests of a host": {
		"$JS.ACK.HOLDFAST_REQUESTS.host_db01.1.1.1.1.0", "$JS.ACK.HOLDFAST_REQUESTS.cancel_db01.1.1.1.1.0",
		"$JS.ACK.HOLDFAST_BROADCAST.host_db01.1.1.1.1.0", "$JS.ACK._.hash.HOLDFAST_REQUESTS.host_db01.1.1.1.1.0",
	},
	"settle requests to any host": {"$JS.ACK.HOLDFAST_REQUESTS.any.1.1.1.1.0"},
	"speak as a host":             {"holdfast.evt.db01.job.backup.completed", "holdfast.progress.db01.job", "holdfast.dlq.db01"},
	"write a host's ledger":       {"$KV.HOLDFAST_JOBS.db01.job.job", "$KV.HOLDFAST_JOBS.db01.job.end"},
	"take a host's lock":          {"$KV.HOLDFAST_LOCKS.db01", "$KV.HOLDFAST_LOCKS.point.db01.sink.point.job"},
	"request what was granted to the publisher": {"holdfast.req.backup.host.web01", "holdfast.req.cancel.host.web01",
		"holdfast.req.backup.all"},
	"request more": {
		"holdfast.req.backup.host.db01", "holdfast.req.cancel.host.db01", "holdfast.req.restore.host.web01",
		"holdfast.req.cancel.all", "holdfast.req.verify.any", "holdfast.req.verify.host.web01",
		"holdfast.req.prune.host.db01", "holdfast.req.prune.any", "holdfast.req.copy.host.web01", "holdfast.req.copy.any",
	},
	"prune after a backup of web01": {"holdfast.req.prune.host.web01"},
	"read events":                   {"$JS.API.STREAM.MSG.GET.HOLDFAST_EVENTS", "$JS.API.DIRECT.GET.HOLDFAST_EVENTS"},
	"read requests":                 {"$JS.API.STREAM.MSG.GET.HOLDFAST_REQUESTS"},
	"read the ledger and the locks": {
		"$JS.API.STREAM.MSG.GET.KV_HOLDFAST_JOBS", "$JS.API.STREAM.MSG.GET.KV_HOLDFAST_LOCKS",
	},
	"read dead letters":       {"$JS.API.STREAM.MSG.GET.HOLDFAST_DLQ", "$JS.API.DIRECT.GET.HOLDFAST_DLQ"},
	"list the enrolled hosts": {"$JS.API.CONSUMER.NAMES.HOLDFAST_REQUESTS"},
	"look at streams": {
		"$JS.API.STREAM.INFO.HOLDFAST_REQUESTS", "$JS.API.STREAM.INFO.HOLDFAST_EVENTS", "$JS.API.STREAM.INFO.HOLDFAST_DLQ",
		"$JS.API.STREAM.INFO.KV_HOLDFAST_JOBS", "$JS.API.STREAM.INFO.KV_HOLDFAST_LOCKS",
	},
	"find streams":                   {"$JS.API.STREAM.NAMES"},
	"see whether a host is enrolled": {"$JS.API.CONSUMER.INFO.HOLDFAST_REQUESTS.host_db01"},
	"look at other consumers of a host": {"$JS.API.CONSUMER.INFO.HOLDFAST_BROADCAST.host_db01",
		"$JS.API.CONSUMER.INFO.HOLDFAST_BROADCAST.cancel_db01"},
	"list everything": {
		"$JS.API.STREAM.LIST", "$JS.API.CONSUMER.LIST.HOLDFAST_REQUESTS", "$JS.API.CONSUMER.NAMES.HOLDFAST_BROADCAST",
	},
	"provision": {
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.HOLDFAST_EVENTS", "$JS.API.CONSUMER.CREATE.HOLDFAST_EVENTS",
		"$JS.API.CONSUMER.CREATE.HOLDFAST_REQUESTS.mine", "$JS.API.CONSUMER.CREATE.HOLDFAST_REQUESTS.host_web01",
		"$JS.API.CONSUMER.CREATE.KV_HOLDFAST_JOBS", "$JS.API.CONSUMER.CREATE.HOLDFAST_EVENTS.mine.holdfast.evt.>",
		"$JS.API.CONSUMER.CREATE.HOLDFAST_REQUESTS.mine.holdfast.req.backup.any",
		"$JS.API.CONSUMER.DELETE.HOLDFAST_REQUESTS.host_web01", "$JS.API.CONSUMER.DELETE.HOLDFAST_REQUESTS.host_db01",
	},
	"remove dead letters": {"$JS.API.STREAM.MSG.DELETE.HOLDFAST_DLQ"},
	"anything else of JetStream": {
		"$JS.API.CONSUMER.DURABLE.CREATE.HOLDFAST_REQUESTS.mine", "$JS.API.CONSUMER.RESET.HOLDFAST_REQUESTS.host_web01",
		"$JS.API.CONSUMER.PAUSE.HOLDFAST_REQUESTS.host_web01", "$JS.API.CONSUMER.UNPIN.HOLDFAST_REQUESTS.host_web01",
		"$JS.API.CONSUMER.LEADER.STEPDOWN.HOLDFAST_REQUESTS.host_web01", "$JS.API.STREAM.DELETE.HOLDFAST_EVENTS",
		"$JS.API.STREAM.PURGE.HOLDFAST_EVENTS", "$JS.API.STREAM.PURGE.HOLDFAST_REQUESTS", "$JS.API.STREAM.PURGE.KV_HOLDFAST_JOBS",
		"$JS.API.STREAM.DELETE.KV_HOLDFAST_JOBS", "$JS.API.STREAM.MSG.DELETE.KV_HOLDFAST_JOBS",
		"$JS.API.STREAM.MSG.DELETE.HOLDFAST_REQUESTS", "$JS.API.STREAM.MSG.DELETE.KV_HOLDFAST_LOCKS",
		"$JS.API.STREAM.SNAPSHOT.HOLDFAST_REQUESTS", "$JS.API.STREAM.RESTORE.MINE", "$JS.API.STREAM.LEADER.STEPDOWN.HOLDFAST_REQUESTS",
		"$JS.API.DIRECT.GET.KV_HOLDFAST_JOBS", "$JS.API.DIRECT.GET.KV_HOLDFAST_JOBS.$KV.HOLDFAST_JOBS.db01.job.job",
		"$JS.API.META.LEADER.STEPDOWN", "$JS.API.ACCOUNT.PURGE.HOLDFAST", "$JS.FC.HOLDFAST_REQUESTS.host_web01.x",
	},
	"other streams": {"$JS.API.STREAM.MSG.GET.MINE", "$JS.API.CONSUMER.MSG.NEXT.MINE.mine"},
}

// allowed names, for each role, the entries of denied that it may do.
var allowed = map[string][]string{
	web01: {"take requests to any host", "settle requests to any host", "read requests", "read the ledger and the locks",
		"look at streams", "find streams", "prune after a backup of web01"},
	publisher: {"request what was granted to the publisher", "read events", "list the enrolled hosts", "find streams",
		"see whether a host is enrolled"},
	observer: {"read events", "list the enrolled hosts"},
	operator: {
		"request what was granted to the publisher", "request more", "prune after a backup of web01", "read events", "read requests", "read the ledger and the locks",
		"read dead letters", "remove dead letters", "list the enrolled hosts", "list everything", "provision", "other streams",
		"look at streams", "find streams", "see whether a host is enrolled", "look at other consumers of a host",
	},
}

func TestRolesCanDoNothingElse(t *testing.T) { onBoth(t, rolesCanDoNothingElse) }

func rolesCanDoNothingElse(t *testing.T, f *testFleet) {
	op := f.connect(operator)
	f.inFlight(t)
	before := op.state()
	everything := op.subscribe("holdfast.>")
	for user, allowed := range allowed {
		c := f.connect(user)
		for _, what := range slices.Sorted(maps.Keys(denied)) {
			if slices.Contains(allowed, what) {
				continue
			}
			for _, subject := range denied[what] {
				t.Run(fmt.Sprintf("%s/%s/%s", user, what, subject), func(t *testing.T) {
					c.refused(t, subject)
				})
			}
		}
	}
	silent(t, everything)
	if after := op.state(); !maps.Equal(before, after) {
		t.Errorf("the server held\n%v\nand now holds\n%v", before, after)
	}
}

// refused fails unless the server says that the subject is denied, or that
// nobody is there: in the account of the user, the subject leads nowhere.
func (c *conn) refused(t *testing.T, subject string) {
	t.Helper()
	answers := make(chan *nats.Msg, 1)
	inbox := c.NewInbox()
	sub, err := c.ChanSubscribe(inbox, answers)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.PublishRequest(subject, inbox, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-answers:
		if m.Header.Get("Status") != "503" {
			t.Errorf("is answered: %v %s", m.Header, m.Data)
		}
	case err := <-c.violations:
		if !strings.Contains(err.Error(), fmt.Sprintf("Publish to %q", subject)) {
			t.Errorf("the server reports %v", err)
		}
	case <-time.After(bustest.Patience):
		t.Error("the server says nothing, and may have done it")
	}
}

// TestHeadersOpenNothing has a worker write what it may write, with headers that
// would have the server remove messages, or publish them anywhere.
func TestHeadersOpenNothing(t *testing.T) { onBoth(t, headersOpenNothing) }

func headersOpenNothing(t *testing.T, f *testFleet) {
	op, worker := f.connect(operator), f.connect(web01)
	other := f.connect(db01)
	other.put("$KV.HOLDFAST_JOBS.db01.job.job", "head", 0)
	other.must("holdfast.evt.db01.job.x", "")
	other.must("holdfast.dlq.db01", "")
	before := op.state()
	for _, subject := range []string{
		"$KV.HOLDFAST_JOBS.web01.job.job", "$KV.HOLDFAST_LOCKS.web01", "holdfast.evt.web01.job.x", "holdfast.dlq.web01",
	} {
		for _, header := range [][]string{
			{"Nats-Rollup", "all"},
			{"Nats-Rollup", "sub"},
			{"Nats-Schedule", "@every 1s", "Nats-Schedule-Target", "holdfast.evt.db01.job.x"},
			{"Nats-Incr", "+1"},
			{"Nats-Batch-Id", "batch", "Nats-Batch-Sequence", "1", "Nats-Batch-Commit", "1"},
		} {
			m, err := worker.ask(subject, "", header...)
			if err != nil || !strings.Contains(string(m.Data), `"error"`) {
				t.Errorf("%s with %q: %+v, %v", subject, header, m, err)
			}
		}
	}
	if after := op.state(); !maps.Equal(before, after) {
		t.Errorf("the server held\n%v\nand now holds\n%v", before, after)
	}
}

func TestRolesHearNothingElse(t *testing.T) {
	f := newFleet(t)
	for user, subjects := range map[string][]string{
		web01: {
			">", "_INBOX.>", "_INBOX_operator.>", "_INBOX_host-db01.>", "holdfast.>", "holdfast.status.db01", "holdfast.status.*",
			"holdfast.evt.>", "holdfast.req.>", "$KV.>", "$JS.>", "$JS.ACK.>", "$JS.API.>",
		},
		publisher: {
			">", "_INBOX.>", "_INBOX_operator.>", "holdfast.>", "holdfast.status.web01", "$SRV.>", "holdfast.req.>", "holdfast.dlq.>",
			"$KV.>", "$JS.>",
		},
		observer: {
			">", "_INBOX.>", "_INBOX_operator.>", "holdfast.>", "holdfast.status.web01", "$SRV.>", "holdfast.req.>", "holdfast.dlq.>",
			"$KV.>", "$JS.>",
		},
		operator: {">", "_INBOX.>", "_INBOX_host-web01.>", "$SRV.>", "$KV.>", "$JS.API.>", "$JS.ACK.>"},
	} {
		c := f.connect(user)
		for _, subject := range subjects {
			t.Run(user+"/"+subject, func(t *testing.T) {
				s := c.subscribe(subject)
				defer func() { _ = s.Unsubscribe() }()
				select {
				case err := <-c.violations:
					if !strings.Contains(err.Error(), fmt.Sprintf("Subscription to %q", subject)) {
						t.Errorf("the server reports %v", err)
					}
				case <-time.After(bustest.Patience):
					t.Error("the server has no objection")
				}
			})
		}
	}
}

// inFlight leaves a request with each host and with none, taken and not settled.
func (f *testFleet) inFlight(t *testing.T) {
	t.Helper()
	requests := f.bus(operator)
	for user, host := range map[string]string{web01: "web01", db01: "db01"} {
		publish(t, requests, events.HostSubject(events.Backup, host))
		publish(t, requests, events.HostSubject(events.Backup, host))
		take(t, consume.Work(f.bus(user), host)[0])
	}
}
