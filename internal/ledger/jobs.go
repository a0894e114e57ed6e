package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Jobs are the jobs of one host, as one worker sees and changes them. It may be
// used by several goroutines.
type Jobs struct {
	Store Store
	Host  string
	// Owner is the worker's own id. Whoever claims a job must be the one that
	// serves the host: an owner that is another one is taken for dead.
	Owner string
}

// Of returns the jobs of another host in the same store, as the same worker sees
// them. What stands for any host keeps the jobs that any host may do: they have
// one entry, whichever host takes their request.
func (j *Jobs) Of(host string) *Jobs {
	other := *j
	other.Host = host
	return &other
}

// Request is what a job is claimed for.
type Request struct {
	// Job is the job's id.
	Job string
	// Digest is of the request's type and data.
	Digest string
	// Reply is where the request's message is settled.
	Reply string
	// Stored is when the request was stored in its stream.
	Stored time.Time
}

// Claim makes the job this worker's, as a new attempt, unless it has ended. It
// reports ErrReused, and changes nothing, if the job is another request's. A job whose
// entry is damaged is claimed to be ended: see [Claim.Damaged].
func (j *Jobs) Claim(ctx context.Context, r Request) (*Claim, error) {
	for {
		c, err := j.claim(ctx, r)
		if !errors.Is(err, ErrConflict) {
			return c, err
		}
	}
}

func (j *Jobs) claim(ctx context.Context, r Request) (*Claim, error) {
	c := &Claim{jobs: j, job: r.Job, outcomes: map[int][]byte{}, begun: map[int]begunEntry{}}
	head, revision, err := j.head(ctx, r.Job)
	switch {
	case errors.Is(err, ErrDamaged): // it is replaced, so that the job can be ended
		head, c.damaged = Head{}, err
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, err
	}
	if head.Digest != "" && head.Digest != r.Digest {
		return nil, fmt.Errorf("job %s: %w", r.Job, ErrReused)
	}
	c.known = head.Digest != "" || c.damaged != nil
	entered := revision != 0
	if !head.ended() {
		if head.Began.IsZero() {
			head.Began, head.Stored = time.Now().UTC(), r.Stored.UTC()
		}
		head.Digest, head.Owner, head.Reply = r.Digest, j.Owner, r.Reply
		head.Attempt++
		if revision, err = j.putHead(ctx, r.Job, head, revision); err != nil {
			return nil, err
		}
	}
	c.head, c.revision = head, revision
	if entered {
		if err := c.load(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Cancel enters that the job is to be cancelled, also one that has not come yet, or
// whose entry is damaged. It reports ErrEnded, and the job's end, if it is too late.
func (j *Jobs) Cancel(ctx context.Context, job string) (end []byte, err error) {
	for {
		head, revision, err := j.head(ctx, job)
		switch {
		case errors.Is(err, ErrDamaged):
			head = Head{}
		case err != nil && !errors.Is(err, ErrNotFound):
			return nil, err
		case head.ended():
			return head.End, fmt.Errorf("job %s: %w", job, ErrEnded)
		case head.Cancelled:
			return nil, nil
		}
		head.Cancelled = true
		if _, err = j.putHead(ctx, job, head, revision); !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
}

// Unsettled yields the jobs of the host that have not ended, and those that ended
// within the time before now: their requests may not be acknowledged yet. An error
// with the id of a job is of that job alone, and others may follow.
func (j *Jobs) Unsettled(ctx context.Context, within time.Duration) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for e, err := range j.Store.List(ctx, j.Host+".*.job") {
			if err != nil {
				yield(Job{}, fmt.Errorf("list the jobs of host %s: %w", j.Host, err))
				return
			}
			var head Head
			err := Decode(e.Key, Version, e.Value, &head)
			if err == nil && (head.Digest == "" || head.ended() && time.Since(e.Time) > within) {
				continue
			}
			if !yield(Job{ID: strings.Split(e.Key, ".")[1], Head: head}, err) {
				return
			}
		}
	}
}

// Job is a job as it stands in the ledger.
type Job struct {
	ID string
	Head
}

// Begun returns the items of a job that attempts began, by their place in the plan.
// It passes over entries that it cannot read, and reports them with the others.
func (j *Jobs) Begun(ctx context.Context, job string) (map[int]Begun, error) {
	begun := map[int]Begun{}
	var unreadable error
	for e, err := range j.Store.List(ctx, j.key(job, "begun", "*")) {
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", job, err)
		}
		_, i, ok := place(e.Key)
		if !ok {
			continue
		}
		var b Begun
		if err := Decode(e.Key, Version, e.Value, &b); err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		begun[i] = b
	}
	return begun, unreadable
}

// Get returns a job as it stands. It reports ErrNotFound.
func (j *Jobs) Get(ctx context.Context, job string) (Job, error) {
	head, _, err := j.head(ctx, job)
	return Job{ID: job, Head: head}, err
}

func (j *Jobs) head(ctx context.Context, job string) (Head, uint64, error) {
	key := j.key(job, "job")
	raw, revision, err := j.Store.Get(ctx, key)
	if err != nil {
		return Head{}, 0, fmt.Errorf("look up job %s: %w", job, err)
	}
	var head Head
	err = Decode(key, Version, raw, &head)
	return head, revision, err
}

func (j *Jobs) putHead(ctx context.Context, job string, h Head, expected uint64) (uint64, error) {
	h.Version = Version
	raw, err := Encode(h)
	if err != nil {
		return 0, err
	}
	revision, err := j.Store.Put(ctx, j.key(job, "job"), raw, expected, h.retention())
	if err != nil {
		return 0, fmt.Errorf("enter job %s: %w", job, err)
	}
	return revision, nil
}

func (j *Jobs) key(job string, rest ...string) string {
	return strings.Join(slices.Concat([]string{j.Host, job}, rest), ".")
}

// place reads the number at the end of a key such as <host>.<job>.item.<i>.
func place(key string) (kind string, i int, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) != 4 {
		return "", 0, false
	}
	i, err := strconv.Atoi(parts[3])
	return parts[2], i, err == nil && i >= 0
}
