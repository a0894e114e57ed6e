package objects

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
)

const (
	// maxWindow is how many chunks may be on their way.
	maxWindow = 16
	// maxWary is after how many chunks more are sent at a time at the latest.
	maxWary = 64
	// indexHeader numbers the chunks of an object, from 0 on.
	indexHeader = "Holdfast-Chunk"
)

// chunk is a part of an object.
type chunk struct {
	index   int64
	content []byte
}

// sender stores the chunks of one upload in their order. Each names the sequence of the one
// before it, and is refused if that is not the last: so one that is sent twice, comes late or
// has lost its predecessor does no harm. Several are sent at a time by guessing that the
// stream gives them sequences in a row. Where somebody else writes to it as well they are
// refused, and sent again one by one.
type sender struct {
	ctx     context.Context //nolint:containedctx // it lives as long as the upload
	store   *Store
	key     string
	subject string
	free    chan<- []byte

	last    uint64 // the sequence of the last chunk that is stored
	through int64  // the index of that one, or -1

	window  int                 // chunks that may be on their way
	wary    int                 // chunks in a row before the window grows
	streak  int                 // chunks that were in a row
	flights []flight            // those on their way
	async   jetstream.JetStream // by which they are sent; nil before the first
}

// flight is a chunk on its way.
type flight struct {
	chunk
	answer jetstream.PubAckFuture
}

func newSender(u *upload) *sender {
	return &sender{
		ctx: u.ctx, store: u.store, key: u.key, subject: u.store.chunkSubject(u.id), free: u.free, through: -1, window: 1, wary: 1,
	}
}

// run stores what comes, until there is no more.
func (s *sender) run(queue <-chan chunk) error {
	defer func() {
		if s.async != nil {
			s.async.CleanupPublisher()
		}
	}()
	for {
		select {
		case c, more := <-queue:
			if !more {
				return s.settle(0)
			}
			if err := s.send(c); err != nil {
				return err
			}
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

func (s *sender) send(c chunk) error {
	if err := s.settle(s.window - 1); err != nil {
		return err
	}
	if s.window == 1 {
		return s.sendAlone(c)
	}
	b, err := s.store.connected(s.ctx)
	if err == nil && s.async == nil {
		s.async, err = jetstream.New(b.Conn())
	}
	if err != nil {
		return s.store.explain(s.ctx, s.key, err)
	}
	guess := s.last + uint64(len(s.flights))
	answer, err := s.async.PublishMsgAsync(s.message(c, jetstream.ExpectedLastSeqHeader, guess), jetstream.WithRetryAttempts(0))
	s.flights = append(s.flights, flight{c, answer})
	if err != nil {
		return s.recover()
	}
	return nil
}

// message is that of a chunk, which is stored only behind a sequence, which a header names.
func (s *sender) message(c chunk, header string, after uint64) *nats.Msg {
	return &nats.Msg{Subject: s.subject, Data: c.content, Header: nats.Header{
		header: {strconv.FormatUint(after, 10)}, indexHeader: {strconv.FormatInt(c.index, 10)},
	}}
}

// settle waits until so many chunks at most are on their way.
func (s *sender) settle(most int) error {
	for len(s.flights) > most {
		sequence, err := s.wait(s.flights[0].answer)
		if err != nil {
			if err := s.recover(); err != nil {
				return err
			}
			continue
		}
		guessed := s.last + 1
		s.isStored(s.flights[0].chunk, sequence)
		s.flights = s.flights[1:]
		if sequence != guessed {
			if err := s.recover(); err != nil {
				return err
			}
		}
	}
	return nil
}

// wait waits for the answer to a chunk.
func (s *sender) wait(answer jetstream.PubAckFuture) (sequence uint64, err error) {
	b, err := s.store.connected(s.ctx)
	if err != nil {
		return 0, err
	}
	err = b.Once(s.ctx, s.store.chunkTime(), func(ctx context.Context) error {
		select {
		case ack := <-answer.Ok():
			sequence = ack.Sequence
			return nil
		case err := <-answer.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return sequence, err
}

// isStored notes that a chunk is stored, and has the window grow while nobody else writes.
func (s *sender) isStored(c chunk, sequence uint64) {
	inARow := sequence == s.last+1
	s.last, s.through = sequence, c.index
	s.free <- c.content[:0]
	if !inARow {
		s.streak = 0
		return
	}
	if s.streak++; s.streak >= s.wary && s.window < maxWindow {
		s.window, s.streak = 2*s.window, 0
	}
}

// recover sends what is on its way again, one by one.
func (s *sender) recover() error {
	s.window, s.streak, s.wary = 1, 0, min(2*s.wary+1, maxWary)
	flights := s.flights
	s.flights = nil
	for _, f := range flights {
		if err := s.sendAlone(f.chunk); err != nil {
			return err
		}
	}
	return nil
}

// sendAlone stores a chunk, unless it is stored already.
func (s *sender) sendAlone(c chunk) error {
	if c.index <= s.through {
		s.free <- c.content[:0]
		return nil
	}
	var removed error
	var sequence uint64
	err := s.store.try(s.ctx, s.key, s.store.chunkTime(), func(ctx context.Context, b *bus.Bus) (err error) {
		sequence, err = b.Append(ctx, s.message(c, jetstream.ExpectedLastSubjSeqHeader, s.last))
		if !wrongSequence(err) {
			return err
		}
		err = s.lookWhatIsStored(ctx, b)
		if errors.Is(err, errRemoved) {
			removed = s.store.explain(s.ctx, s.key, err)
			return nil
		}
		if err == nil && s.through < c.index {
			err = errBusy
		}
		return err
	})
	if err = errors.Join(err, removed); err != nil {
		return err
	}
	if c.index <= s.through {
		s.free <- c.content[:0]
		return nil
	}
	s.isStored(c, sequence)
	return nil
}

// lookWhatIsStored finds out which chunk is the last one, when the answer to some was lost
// and the server refuses the next. Those before it are stored too.
func (s *sender) lookWhatIsStored(ctx context.Context, b *bus.Bus) error {
	m, err := s.store.load(ctx, b, bus.Query{LastFor: s.subject})
	switch {
	case err != nil:
		return err
	case m == nil && s.last > 0:
		return errRemoved
	case m == nil || m.Sequence == s.last:
		return errBusy // a cluster refuses while another message is not yet stored
	}
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return err
	}
	index, _ := indexOf(header)
	s.last, s.through = m.Sequence, index
	return nil
}
