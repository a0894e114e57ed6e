package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
)

// VerificationOf returns what is published of a mark; the zero value if there is none.
func VerificationOf(v *point.Verified) events.Verification {
	if v == nil {
		return events.Verification{}
	}
	r := events.Verification{Time: v.Time, Level: events.VerifyLevel(v.Level), Passed: v.OK}
	for i, p := range v.Problems {
		if i > 0 {
			r.Message += "; "
		}
		r.Message += describe(p.Key, p.Message)
	}
	return r
}

// levels are the levels by how much they prove.
var levels = []events.VerifyLevel{events.VerifyQuick, events.VerifyFull, events.VerifyDrill}

// lastAt is when a point with this mark was last verified at this level or a deeper
// one; zero for never.
func lastAt(v *point.Verified, level events.VerifyLevel) time.Time {
	switch {
	case v == nil:
		return time.Time{}
	case slices.Index(levels, events.VerifyLevel(v.Level)) >= slices.Index(levels, level):
		return v.Time
	case level == events.VerifyDrill || v.DrillTime.After(v.FullTime):
		return v.DrillTime
	}
	return v.FullTime
}

// mark writes beside the point what came of it.
func (a *attempt) mark(ctx context.Context, verdict *failure.Error) error {
	v := point.Verified{
		Time: time.Now().UTC(), Level: string(a.Level), OK: verdict == nil, Host: a.Host, Job: a.Job, Holdfast: a.Version,
		FullTime: lastAt(a.before, events.VerifyFull), DrillTime: lastAt(a.before, events.VerifyDrill),
	}
	for _, f := range a.found {
		switch {
		case f.Condition == events.ConditionGood:
		case len(v.Problems) == point.MaxProblems:
			v.ProblemsOmitted++
		default:
			v.Problems = append(v.Problems, point.Problem{Key: f.Key, Message: events.Cut(f.Message, point.MaxMarkText)})
		}
	}
	err := v.Write(ctx, a.Sink, a.Dir)
	if errors.Is(err, sink.ErrNotFound) {
		return a.gone()
	}
	if err != nil {
		return failure.At(events.StepPublish, failure.FromSink(err), "write beside point %s what came of verifying it", a.Item.Point)
	}
	step.At(ctx, step.Marked)
	return nil
}
