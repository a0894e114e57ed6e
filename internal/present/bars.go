package present

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"holdfast.io/holdfast/events"
)

// bars is one progress bar for each item that is being worked on.
type bars struct {
	all  *mpb.Progress
	each map[string]*itemBar // by the item's id, its point and its sink
}

type itemBar struct {
	bar  *mpb.Bar
	step atomic.Value // of events.Step; the bars draw themselves
	read atomic.Int64 // bytes, where nobody knows of how many
}

func newBars(w io.Writer) *bars {
	return &bars{all: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40)), each: map[string]*itemBar{}}
}

func (b *bars) progress(d events.Progress) {
	key := barKey(d.Item, d.Point, d.Sink)
	ib := b.each[key]
	if ib == nil {
		ib = &itemBar{}
		ib.step.Store(d.Step)
		name := Escape(d.Item.Name + inSink(d.Sink))
		// Without a total yet: a bar that has one ends when it is reached, and the
		// Engine's estimate may be short of what comes.
		ib.bar = b.all.AddBar(0,
			mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(name+" "), decor.Any(func(decor.Statistics) string { return fmt.Sprint(ib.step.Load(), " ") })),
			mpb.AppendDecorators(decor.Any(ib.readOf)),
		)
		b.each[key] = ib
	}
	ib.step.Store(d.Step)
	ib.read.Store(d.Bytes)
	if d.TotalBytes > 0 {
		ib.bar.SetTotal(max(d.TotalBytes, d.Bytes+1), false)
		ib.bar.SetCurrent(d.Bytes)
	}
}

// readOf says how much of an archive was read. The size of a volume is not known
// beforehand.
func (b *itemBar) readOf(s decor.Statistics) string {
	switch read := b.read.Load(); {
	case s.Total > 0:
		return " " + Bytes(s.Current) + " / " + Bytes(s.Total)
	case read > 0:
		return " " + Bytes(read)
	}
	return ""
}

func barKey(item events.Item, point, sink string) string { return item.ID + point + "\x00" + sink }

func (b *bars) end(item events.Item, point, sink string) {
	key := barKey(item, point, sink)
	if ib := b.each[key]; ib != nil {
		ib.bar.Abort(true)
		delete(b.each, key)
	}
}

// line prints a line above the bars.
func (b *bars) line(text string) { fmt.Fprintln(b.all, text) }

func (b *bars) wait() {
	for id, ib := range b.each {
		ib.bar.Abort(true)
		delete(b.each, id)
	}
	b.all.Wait()
}
