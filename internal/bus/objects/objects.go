// Package objects keeps objects in a bucket of the object store of NATS, for sinks. Any
// client of NATS reads them: nats object get BUCKET KEY.
//
// A bucket is the stream OBJ_<bucket>. The content of an object is a row of messages on
// $O.<bucket>.C.<id>, and the one message on $O.<bucket>.M.<key in base64> says which id
// that is, with the size and a digest: that message makes the object, as it replaces the
// one before only if this is still the one that was seen.
//
// Two members of its metadata are this package's own: holdfast.uploads has the ids that are
// being written for the key, and holdfast.garbage those whose content is to be removed. An
// id is in one of them before its first message is stored, and until its last one is
// removed, so nothing is lost of which nobody knows. A key with nothing but these is
// marked as deleted, and the mark goes with the last of them.
package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// Options say where a store lies, and how it is used.
type Options struct {
	// Bucket is an object store's bucket, and Prefix is what all keys begin with, without a
	// slash at its end; empty for the whole bucket.
	Bucket, Prefix string
	// Server is the URL of a server, nats://host:port or tls://host:port, or of several
	// servers of one cluster, separated by commas.
	Server string
	// CA, User, Password and Credentials are files: PEM certificates that the server's is
	// signed by, a user and a password, and a NATS .creds file.
	CA, User, Password, Credentials string
	// MaxBytes is the most that the bucket takes, if it is made here: see Make.
	MaxBytes int64
	// Make makes the bucket if it is not there and MaxBytes is set.
	Make bool

	patience time.Duration // for how long an operation is tried; 0 for patience
	each     time.Duration // for how long a chunk may be on its way; 0 for chunkTime
	ping     time.Duration // see pingTime
}

const (
	// patience is for how long an operation is tried that fails for a passing reason.
	patience = time.Minute
	// chunkTime is for how long one chunk may be on its way.
	chunkTime = 30 * time.Second
	// pingTime has a connection that stands still break after three of it.
	pingTime = 10 * time.Second
)

// Store is a prefix in a bucket. It connects when it is first used.
type Store struct {
	options Options
	stream  string
	prefix  string // of all keys; ends with a slash unless it is empty
	place   string

	dialing chan struct{} // has room for who may look at bus
	bus     *bus.Bus      // nil before the first connection
	most    atomic.Int32  // chunks of an upload that may be on their way
}

var (
	_ object.Store = (*Store)(nil)
	_ sink.Spacer  = (*Store)(nil)
)

// validBucket is what the clients of NATS take as the name of a bucket.
var validBucket = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// New checks the options, and connects to nothing.
func New(o Options) (*Store, error) {
	if !validBucket.MatchString(o.Bucket) {
		return nil, fmt.Errorf("the bucket %q has characters beside letters, digits, '-' and '_'", o.Bucket)
	}
	if err := checkServer(o.Server); err != nil {
		return nil, err
	}
	if (o.User == "") != (o.Password == "") {
		return nil, errors.New("userFile and passwordFile go together")
	}
	s := &Store{options: o, stream: "OBJ_" + o.Bucket, prefix: o.Prefix, place: Place(o), dialing: make(chan struct{}, 1)}
	if s.prefix != "" {
		s.prefix += "/"
	}
	return s, nil
}

func checkServer(servers string) error {
	if servers == "" {
		return errors.New("it needs server, the URL of the NATS server: nats://host:port")
	}
	for server := range strings.SplitSeq(servers, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" ||
			u.Scheme != "nats" && u.Scheme != "tls" {
			// The error of the URL would repeat it with its password.
			return errors.New("server must be nats://host:port or tls://host:port, or several separated by commas; " +
				"a user and a password go into userFile and passwordFile")
		}
	}
	return nil
}

// Place returns where a store lies, in its one canonical form.
func Place(o Options) string {
	place := "nats://" + o.Bucket
	if o.Prefix != "" {
		place += "/" + o.Prefix
	}
	return place + " (" + strings.ReplaceAll(o.Server, " ", "") + ")"
}

// Place implements [object.Store].
func (s *Store) Place(key string) string {
	if key == "" {
		return s.place
	}
	return "nats://" + s.options.Bucket + "/" + s.prefix + key
}

// Close ends the connection, if there is one. Nothing may be under way.
func (s *Store) Close() error {
	s.dialing <- struct{}{}
	defer func() { <-s.dialing }()
	if s.bus == nil {
		return nil
	}
	b := s.bus
	s.bus = nil
	return b.Close()
}

// try runs an exchange with the server until it succeeds, for about a minute, and explains
// why it did not.
func (s *Store) try(ctx context.Context, key string, each time.Duration, exchange func(context.Context, *bus.Bus) error) error {
	trying, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	b, err := s.connected(trying)
	if err == nil {
		err = b.RetryEach(trying, "the object store", each, func(ctx context.Context) error { return exchange(ctx, b) })
	}
	return s.explain(ctx, key, err)
}

func (s *Store) patience() time.Duration { return cmp.Or(s.options.patience, patience) }

func (s *Store) chunkTime() time.Duration { return cmp.Or(s.options.each, chunkTime) }

// window is how many chunks of an upload may be on their way.
func (s *Store) window() int { return int(s.most.Load()) }

// connected returns the connection, which reconnects by itself when it was made once.
func (s *Store) connected(ctx context.Context) (*bus.Bus, error) {
	select {
	case s.dialing <- struct{}{}:
		defer func() { <-s.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.bus != nil {
		return s.bus, nil
	}
	b, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.look(ctx, b); err != nil {
		_ = b.Close()
		return nil, err
	}
	s.bus = b
	return b, nil
}

func (s *Store) connect(ctx context.Context) (*bus.Bus, error) {
	o := bus.Options{
		URL: s.options.Server, CredentialsFile: s.options.Credentials, TLS: bus.TLS{CA: s.options.CA},
		Name: "holdfast sink", Ping: cmp.Or(s.options.ping, pingTime),
	}
	var err error
	if o.User, err = firstLine(s.options.User); err != nil {
		return nil, fmt.Errorf("%w: userFile: %w", errSetting, err)
	}
	if o.Password, err = firstLine(s.options.Password); err != nil {
		return nil, fmt.Errorf("%w: passwordFile: %w", errSetting, err)
	}
	return backoff.Retry(ctx, func() (*bus.Bus, error) {
		b, err := bus.Connect(ctx, o)
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, backoff.Permanent(err)
		}
		return b, err
	}, backoff.WithBackOff(bus.NewBackOff()))
}

// look holds the bucket against what is relied on, and makes it if it is not there and may
// be made.
func (s *Store) look(ctx context.Context, b *bus.Bus) error {
	info, err := s.info(ctx, b)
	if errors.Is(err, bus.ErrNotProvisioned) && s.options.Make && s.options.MaxBytes > 0 {
		if err := s.make(ctx, b); err != nil {
			return err
		}
		info, err = s.info(ctx, b)
	}
	if err != nil {
		return err
	}
	s.most.Store(maxWindow)
	if info.Config.Replicas > 1 {
		s.most.Store(1) // see sender
	}
	edit := "nats stream edit " + s.stream
	switch c := info.Config; {
	case c.MaxAge > 0:
		return fmt.Errorf("%w: the bucket forgets objects after %s; give it no age: %s --max-age=0", errBucket, c.MaxAge, edit)
	case c.Discard != jetstream.DiscardNew:
		return fmt.Errorf("%w: the bucket forgets its oldest objects when it is full: %s --discard=new", errBucket, edit)
	case !c.AllowRollup || !c.AllowDirect || c.DenyPurge || c.DenyDelete:
		return fmt.Errorf("%w: its stream %s does not allow what an object store needs; make it with: nats object add", errBucket, s.stream)
	}
	return nil
}

// make makes the bucket. Another process may make it at the same time.
func (s *Store) make(ctx context.Context, b *bus.Bus) error {
	return b.RetryEach(ctx, "making the bucket", bus.AttemptTimeout, func(ctx context.Context) error {
		_, err := b.JetStream().CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: s.options.Bucket, Description: "backups of Holdfast", MaxBytes: s.options.MaxBytes,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			return nil
		}
		return err
	})
}

// info is what the stream's leader says of it.
func (s *Store) info(ctx context.Context, b *bus.Bus) (info jetstream.StreamInfo, err error) {
	err = b.RetryEach(ctx, "looking at the bucket", bus.AttemptTimeout, func(ctx context.Context) error {
		return b.API(ctx, "STREAM.INFO."+s.stream, struct{}{}, &info)
	})
	return info, err
}

// TellsFree reports whether Free is of use: a bucket without a cap shares what its server
// has.
func (s *Store) TellsFree(ctx context.Context) (bool, error) {
	info, err := s.askInfo(ctx)
	return info.Config.MaxBytes > 0, err
}

// Free implements [sink.Spacer], for a bucket with a cap.
func (s *Store) Free(ctx context.Context) (int64, error) {
	info, err := s.askInfo(ctx)
	return max(0, info.Config.MaxBytes-int64(info.State.Bytes)), err
}

func (s *Store) askInfo(ctx context.Context) (info jetstream.StreamInfo, err error) {
	err = s.try(ctx, "", bus.AttemptTimeout, func(ctx context.Context, b *bus.Bus) error {
		return b.API(ctx, "STREAM.INFO."+s.stream, struct{}{}, &info)
	})
	return info, err
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, false)
}

// PutNew implements [object.Store].
func (s *Store) PutNew(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, true)
}

// putTries is how often a small object is stored again that a Sweep took for dead.
const putTries = 10

func (s *Store) put(ctx context.Context, key string, content []byte, fresh bool) (err error) {
	for range putTries {
		if err = s.putOnce(ctx, key, content, fresh); !errors.Is(err, errRemoved) {
			break
		}
	}
	return err
}

func (s *Store) putOnce(ctx context.Context, key string, content []byte, fresh bool) error {
	u, err := s.begin(ctx, key, fresh)
	if err != nil {
		return err
	}
	if _, err = u.Write(content); err == nil {
		err = u.Commit()
	}
	if err == nil {
		return nil
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience())
	defer cancel()
	return errors.Join(err, u.Abort(leaving))
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.discard(ctx, key, func(m *meta) { m.throwAway(m.object()) })
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key string) (object.Info, error) {
	m, err := s.find(ctx, key)
	return m.Info(), err
}

// find returns what is known of an object, or reports sink.ErrNotFound.
func (s *Store) find(ctx context.Context, key string) (m meta, err error) {
	err = s.try(ctx, key, bus.AttemptTimeout, func(ctx context.Context, b *bus.Bus) (err error) {
		m, err = s.last(ctx, b, s.metaSubject(key))
		return err
	})
	if err == nil && m.object() == "" {
		err = fmt.Errorf("%s: %w", s.Place(key), sink.ErrNotFound)
	}
	return m, err
}

// Caveats implements [object.Store]: the server keeps all of the port.
func (s *Store) Caveats(ctx context.Context, key string) ([]string, error) {
	err := s.PutNew(ctx, key, nil)
	if errors.Is(err, sink.ErrExists) {
		err = nil
	}
	return nil, err
}
