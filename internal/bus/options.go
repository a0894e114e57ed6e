package bus

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// Options say how to reach a message server. Credentials may also stand in the
// URL.
type Options struct {
	// URL is one or more addresses of servers of one cluster, separated by
	// commas: nats://host:port or tls://host:port.
	URL string
	// User and Password, Token, or CredentialsFile (a NATS .creds file).
	User, Password  string
	Token           string
	CredentialsFile string
	TLS             TLS
	// Name is what the server's operators see.
	Name string
	// InboxPrefix is where answers arrive, in place of _INBOX: a user whose
	// permissions allow inboxes of its own only has to say so. No dot at its end.
	InboxPrefix string
	// Ping is how often a connection without traffic is tried, three times until it is
	// given up; 0 for every 20 s.
	Ping time.Duration
	// Wait makes Connect try again until its context ends.
	Wait bool
	// Logger may be nil.
	Logger *zap.Logger
}

// TLS names PEM files. Each may be empty; Cert and Key go together.
type TLS struct {
	CA, Cert, Key string
}

const (
	connectTimeout = 5 * time.Second
	reconnectWait  = time.Second
	// A peer that is gone without a word is noticed after three of these.
	pingInterval = 20 * time.Second
)

// natsOptions returns the options of the connection that l follows.
func (o Options) natsOptions(l *link, log *zap.Logger) ([]nats.Option, error) {
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return nil, errors.New("a TLS certificate needs its key, and a key its certificate")
	}
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(connectTimeout),
		nats.PingInterval(cmp.Or(o.Ping, pingInterval)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait), // a fleet does not come back at one moment
		nats.IgnoreAuthErrorAbort(),                        // credentials may be in the middle of a change
		// What is sent while the server is away fails at once. The library would
		// keep it and send it after the reconnect, when pulls and progress are
		// stale, and a publication has already been tried again.
		nats.ReconnectBufSize(-1),
		nats.DrainTimeout(drainTimeout),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			l.lost()
			if err != nil && !nc.IsClosed() {
				log.Warn("the connection to the message server is lost", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.restored()
			log.Info("reconnected to the message server", zap.String("address", nc.ConnectedAddr()))
		}),
		nats.ClosedHandler(func(*nats.Conn) { l.end() }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			l.denials.report(err)
			logAsync(log, sub, err)
		}),
	}
	if o.User != "" || o.Password != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	if o.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(o.CredentialsFile))
	}
	if o.InboxPrefix != "" {
		prefix := nats.CustomInboxPrefix(o.InboxPrefix)
		if err := prefix(&nats.Options{}); err != nil { // the option is tried here: connecting would be tried for ever
			return nil, fmt.Errorf("inbox prefix %q: %w", o.InboxPrefix, err)
		}
		opts = append(opts, prefix)
	}
	if o.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(o.TLS.CA))
	}
	if o.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(o.TLS.Cert, o.TLS.Key))
	}
	return opts, nil
}

// logAsync reports an error that belongs to no call. The name of a denied
// subject is to be had nowhere else: the call itself only runs into its timeout.
func logAsync(log *zap.Logger, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		log.Error("the message server's permissions deny an operation", zap.Error(err))
		return
	}
	fields := []zap.Field{zap.Error(err)}
	if sub != nil {
		fields = append(fields, zap.String("subject", sub.Subject))
	}
	log.Warn("the message server reports an error", fields...)
}

// address returns the URL without credentials. It reports an error for a URL
// that cannot be parsed, and does not quote it: it may hold a password.
func (o Options) address() (string, error) {
	var addresses []string
	for s := range strings.SplitSeq(o.URL, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			return "", errors.New("the message server's URL is malformed; write nats://host:port or tls://host:port")
		}
		addresses = append(addresses, fmt.Sprintf("%s://%s", u.Scheme, u.Host))
	}
	return strings.Join(addresses, ","), nil
}
