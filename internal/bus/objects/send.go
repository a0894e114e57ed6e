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
	maxWindow = 32
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

// sender stores the chunks of one upload in their order. Several are sent at a time, each of
// which is stored only right behind the one before it, which it names by a message id. Where
// somebody else writes to the stream in between, or one was lost, the rest is refused, and
// sent again one by one; such a chunk names the sequence that is to be the last one of the
// upload. So one that is sent twice, comes late or has lost its predecessor does no harm.
// Message ids are never used again, so that the server does not take two for the same.
//
// Into a stream with replicas chunks go one by one: there each server by itself would look
// which message came before, and one that has just caught up does not know.
type sender struct {
	ctx     context.Context //nolint:containedctx // it lives as long as the upload
	store   *Store
	key     string
	id      string // of the upload
	subject string
	free    chan<- []byte

	last    uint64 // the sequence of the last chunk that is stored
	lastID  string // its message id
	through int64  // its index, or -1

	sent    int      // messages
	window  int      // chunks that may be on their way
	wary    int      // chunks in a row before the window grows
	streak  int      // chunks that were in a row
	flights []flight // those on their way
}

// flight is a chunk on its way.
type flight struct {
	chunk
	messageID string
	answer    jetstream.PubAckFuture
}

func newSender(u *upload) *sender {
	return &sender{
		ctx: u.ctx, store: u.store, key: u.key, id: u.id, subject: u.store.chunkSubject(u.id), free: u.free, through: -1, window: 1, wary: 1,
	}
}

// run stores what comes, until there is no more.
func (s *sender) run(queue <-chan chunk) error {
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
	if err != nil {
		return s.store.explain(s.ctx, s.key, err)
	}
	before := s.lastID
	if n := len(s.flights); n > 0 {
		before = s.flights[n-1].messageID
	}
	m, messageID := s.message(c)
	m.Header.Set(jetstream.ExpectedLastMsgIDHeader, before)
	answer, err := b.AppendAsync(m)
	s.flights = append(s.flights, flight{c, messageID, answer})
	if err != nil {
		return s.recover()
	}
	return nil
}

// message is that of a chunk, with a message id of its own.
func (s *sender) message(c chunk) (m *nats.Msg, messageID string) {
	s.sent++
	messageID = s.id + "." + strconv.Itoa(s.sent)
	return &nats.Msg{Subject: s.subject, Data: c.content, Header: nats.Header{
		jetstream.MsgIDHeader: {messageID}, indexHeader: {strconv.FormatInt(c.index, 10)},
	}}, messageID
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
		s.isStored(s.flights[0], sequence)
		s.flights = s.flights[1:]
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
func (s *sender) isStored(f flight, sequence uint64) {
	inARow := sequence == s.last+1
	s.last, s.lastID, s.through = sequence, f.messageID, f.index
	s.free <- f.content[:0]
	if !inARow {
		s.streak = 0
		return
	}
	if s.streak++; s.streak >= s.wary && s.window < s.store.window() {
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
	var messageID string
	err := s.store.try(s.ctx, s.key, s.store.chunkTime(), func(ctx context.Context, b *bus.Bus) (err error) {
		var m *nats.Msg
		m, messageID = s.message(c)
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(s.last, 10))
		sequence, err = b.Append(ctx, m)
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
	s.isStored(flight{chunk: c, messageID: messageID}, sequence)
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
	s.last, s.lastID, s.through = m.Sequence, header.Get(jetstream.MsgIDHeader), index
	return nil
}
