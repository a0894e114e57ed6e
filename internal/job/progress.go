package job

import (
	"sync"
	"time"

	"holdfast.io/holdfast/events"
)

// Progress returns a function that reports on an item: at once when a step
// begins, else every half second, and never more than twice in a second. Nobody
// depends on these reports, so an error is no error.
func (a *Attempt) Progress(i int) func(step events.Step, read, total, stored int64) {
	var (
		mu    sync.Mutex
		pacer pacer
		item  = a.public.Items[i]
	)
	return func(step events.Step, read, total, stored int64) {
		mu.Lock()
		defer mu.Unlock()
		if !pacer.allow(step, time.Now()) {
			return
		}
		ev := a.itemEvent(i, events.ResultProgress, events.Progress{
			Job: a.request.Job, Host: a.runner.Host, Item: item.Item, Point: item.Point, Sink: item.Sink, Step: step,
			Bytes: read, TotalBytes: total, StoredBytes: stored,
		})
		_ = a.runner.Publisher.PublishProgress(events.ProgressSubject(a.runner.Host, a.request.Job), ev)
	}
}

// pacer decides which reports on an item are sent.
type pacer struct {
	step                events.Step
	last, beforeTheLast time.Time
}

func (p *pacer) allow(step events.Step, now time.Time) bool {
	if now.Sub(p.beforeTheLast) < time.Second || step == p.step && now.Sub(p.last) < time.Second/2 {
		return false
	}
	p.step, p.last, p.beforeTheLast = step, now, p.last
	return true
}
