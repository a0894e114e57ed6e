package objects

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// Members of the metadata: ids, separated by spaces.
const (
	uploadsMember = "holdfast.uploads"
	garbageMember = "holdfast.garbage"
)

// meta is what the message of a key says.
type meta struct {
	info jetstream.ObjectInfo
	// sequence is that of the message, or 0 if there is none.
	sequence uint64
	stored   time.Time // by the server's clock
	// uploads are the ids that are being written, and garbage those whose content is to be
	// removed.
	uploads, garbage []string
}

// object returns the id of the object's content, or nothing if there is no object.
func (m *meta) object() string {
	if m.info.Deleted {
		return ""
	}
	return m.info.NUID
}

// Info is what the port tells of an object.
func (m *meta) Info() object.Info {
	return object.Info{Size: int64(m.info.Size), Version: m.object(), Modified: m.stored}
}

// throwAway makes the content with this id garbage, be it the object's or an upload's.
func (m *meta) throwAway(id string) {
	if id == "" {
		return
	}
	if m.object() == id {
		m.info.Deleted = true
	}
	m.uploads = slices.DeleteFunc(m.uploads, func(other string) bool { return other == id })
	if !slices.Contains(m.garbage, id) {
		m.garbage = append(m.garbage, id)
	}
}

// needed reports whether the message of the key says anything.
func (m *meta) needed() bool { return m.object() != "" || len(m.uploads)+len(m.garbage) > 0 }

func (s *Store) metaSubject(key string) string {
	return "$O." + s.options.Bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(s.prefix+key))
}

func (s *Store) chunkSubject(id string) string { return "$O." + s.options.Bucket + ".C." + id }

// encode returns the message's content.
func (m *meta) encode() ([]byte, error) {
	info := m.info
	if m.object() == "" { // a client of NATS wants an id even of what is deleted
		info = jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{Name: info.Name}, Bucket: info.Bucket, Deleted: true}
		info.NUID = slices.Concat(m.uploads, m.garbage, []string{""})[0]
	}
	info.Metadata = map[string]string{}
	for name, ids := range map[string][]string{uploadsMember: m.uploads, garbageMember: m.garbage} {
		if len(ids) > 0 {
			info.Metadata[name] = strings.Join(ids, " ")
		}
	}
	return json.Marshal(info)
}

// decodeMeta reads a message of a key.
func decodeMeta(m *stored) (meta, error) {
	out := meta{sequence: m.Sequence, stored: m.Time}
	if err := json.Unmarshal(m.Data, &out.info); err != nil {
		return meta{}, fmt.Errorf("%w: the message %d says nothing of an object: %w", errBucket, m.Sequence, err)
	}
	out.uploads = strings.Fields(out.info.Metadata[uploadsMember])
	out.garbage = strings.Fields(out.info.Metadata[garbageMember])
	return out, nil
}

// stored is a message as the stream's leader has it.
type stored struct {
	Sequence uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Header   []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
}

// load reads a message from the leader of the stream, or returns nil. It asks once.
func (s *Store) load(ctx context.Context, b *bus.Bus, q bus.Query) (*stored, error) {
	var answer struct {
		Message *stored `json:"message"`
	}
	err := b.API(ctx, "STREAM.MSG.GET."+s.stream, q, &answer)
	if bus.APICode(err) == jetstream.JSErrCodeMessageNotFound {
		return nil, nil
	}
	return answer.Message, err
}

// last reads what the message on a subject says. It asks once.
func (s *Store) last(ctx context.Context, b *bus.Bus, subject string) (meta, error) {
	m, err := s.load(ctx, b, bus.Query{LastFor: subject})
	if err != nil || m == nil {
		return meta{}, err
	}
	return decodeMeta(m)
}

// errBusy reports that another process changes the same key. It passes.
var errBusy = errors.New("another process changes the object")

// change has decide change what the message of a key says, or refuse to, and stores that,
// again if another process came in between. So decide is called several times, also when the
// answer to a try was lost that has succeeded.
func (s *Store) change(ctx context.Context, key string, decide func(*meta) error) (m meta, err error) {
	var refused error
	err = s.try(ctx, key, bus.AttemptTimeout, func(ctx context.Context, b *bus.Bus) (err error) {
		if m, err = s.last(ctx, b, s.metaSubject(key)); err != nil {
			return err
		}
		m.info.Name, m.info.Bucket = s.prefix+key, s.options.Bucket
		before, err := m.encode()
		if err != nil {
			return err
		}
		if refused = decide(&m); refused != nil {
			return nil
		}
		after, err := m.encode()
		if err != nil || m.sequence > 0 && bytes.Equal(before, after) {
			return err
		}
		return s.replace(ctx, b, s.metaSubject(key), &m, after)
	})
	return m, errors.Join(err, refused)
}

// replace stores the message of a key in place of the one that m was read from, or removes
// that one if it is no longer needed.
func (s *Store) replace(ctx context.Context, b *bus.Bus, subject string, m *meta, content []byte) (err error) {
	if !m.needed() {
		if m.sequence == 0 {
			return nil
		}
		return s.purge(ctx, b, subject, m.sequence)
	}
	message := &nats.Msg{Subject: subject, Data: content, Header: expecting(m.sequence)}
	message.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.sequence, err = b.Append(ctx, message)
	if wrongSequence(err) {
		return errBusy
	}
	return err
}

// expecting is the header of a message that is stored only if the last one on its subject
// has this sequence; 0 is none.
func expecting(sequence uint64) nats.Header {
	return nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(sequence, 10)}}
}

// wrongSequence reports that a message was refused for the sequence that it expects.
func wrongSequence(err error) bool {
	switch bus.APICode(err) {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return true
	default:
		return false
	}
}

// purge removes the messages on a subject up to the one with a sequence, or all if that is
// 0. It asks once.
func (s *Store) purge(ctx context.Context, b *bus.Bus, subject string, upTo uint64) error {
	question := struct {
		Subject string `json:"filter"`
		Before  uint64 `json:"seq,omitempty"`
	}{Subject: subject}
	if upTo > 0 {
		question.Before = upTo + 1
	}
	return b.API(ctx, "STREAM.PURGE."+s.stream, question, &struct{}{})
}

// discard has decide make garbage of what lies at a key, and removes that.
func (s *Store) discard(ctx context.Context, key string, decide func(*meta)) error {
	var garbage []string
	m, err := s.change(ctx, key, func(m *meta) error {
		decide(m)
		garbage = m.garbage
		return nil
	})
	if errors.Is(err, sink.ErrFull) {
		// There is not even room for what is to be removed. So that goes first, and if this
		// process dies now what is left is an object without content, to be removed again.
		if err := s.purgeAll(ctx, key, garbage); err != nil {
			return err
		}
		m, err = s.change(ctx, key, func(m *meta) error { decide(m); return nil })
	}
	if err != nil {
		return err
	}
	return s.clean(ctx, key, m.garbage)
}

// clean removes garbage, and then what says that it is there.
func (s *Store) clean(ctx context.Context, key string, garbage []string) error {
	if len(garbage) == 0 {
		return nil
	}
	if err := s.purgeAll(ctx, key, garbage); err != nil {
		return err
	}
	_, err := s.change(ctx, key, func(m *meta) error {
		m.garbage = slices.DeleteFunc(m.garbage, func(id string) bool { return slices.Contains(garbage, id) })
		return nil
	})
	return err
}

func (s *Store) purgeAll(ctx context.Context, key string, ids []string) error {
	for _, id := range ids {
		err := s.try(ctx, key, bus.AttemptTimeout, func(ctx context.Context, b *bus.Bus) error {
			return s.purge(ctx, b, s.chunkSubject(id), 0)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
