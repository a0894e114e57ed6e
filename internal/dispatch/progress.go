package dispatch

import (
	"sync"
	"time"

	"holdfast.io/holdfast/events"
)

// progressInterval is the least time between two reports on one item.
const progressInterval = 500 * time.Millisecond

// progress returns a function that reports on an item, at most twice a second.
// Nobody depends on these reports, so an
// error is no error.
func (j *job) progress(item events.Item) func(step events.Step, read, total, stored int64) {
	var (
		mu   sync.Mutex
		last time.Time
	)
	return func(step events.Step, read, total, stored int64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(last) < progressInterval {
			return
		}
		last = now
		ev := j.event(events.TypeBackupProgress, item.Name, string(item.Kind)+item.ID, events.BackupProgress{
			Job: j.job, Host: j.Host, Item: item, Step: step, Bytes: read, TotalBytes: total, StoredBytes: stored,
		})
		_ = j.Publisher.PublishProgress(events.ProgressSubject(j.Host, j.job), ev)
	}
}
