// Package sftp keeps objects as files of a server that speaks SFTP.
//
// An object lies below the sink's folder at its key. It is written to a hidden file beside
// it, which takes the object's name when it is whole and, where the server can do that, on
// the disk. Folders are made as they are needed, and removed with the last object in them;
// the sink's own folder must be there. Folders are 0700, files 0600.
//
// The protocol says little. What is done about it:
//   - A version is a size and a time in seconds. A replacement gets a later time than what
//     it replaces, so what is replaced by this package is noticed. What others replace by
//     something of the same size within a second, or with the time kept, is not.
//   - The name of a file is on the disk when the file is synced after it was renamed, on
//     the usual file systems. That a file was removed cannot be made durable.
//   - "Failure" is all that OpenSSH says of a full disk. Its free space tells.
//   - No symbolic link below the sink's folder is followed: every element of a path is
//     looked at before it is used. Whoever may write there can still be quicker.
package sftp

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/sink/object"
)

// Options are where a sink lies, and how to log in there. Secrets are read from their files
// when a connection is made.
type Options struct {
	User string
	Host string
	Port int
	// Path is the sink's folder: absolute, or relative to the folder in which the server
	// lets the user begin.
	Path string

	// Key is the file of a private key; without one the agent at SSH_AUTH_SOCK is asked.
	Key               string
	KeyPassphraseFile string
	// PasswordFile has the password of the user, if that may log in with one.
	PasswordFile string
	// KnownHosts is the file with the keys of servers; ~/.ssh/known_hosts if it is empty.
	KnownHosts string
}

// DefaultPort is that of SSH.
const DefaultPort = 22

// URL is where the sink lies, without secrets.
func (o Options) URL() string {
	host := o.Host
	if o.Port != DefaultPort {
		host = net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	at := o.Path
	if !path.IsAbs(at) {
		at = path.Join("/~", at)
	}
	u := url.URL{Scheme: "sftp", User: url.User(o.User), Host: host, Path: at}
	return u.String()
}

// Store is a folder of a server.
type Store struct {
	o     Options
	times times

	lock chan struct{} // is filled by whoever uses link
	link *link         // the last one; nil before the first
}

var _ object.Store = (*Store)(nil)

// times are bounds of what is waited for.
type times struct {
	dial     time.Duration // for a connection and its session
	stall    time.Duration // for a connection on which nothing moves while an answer is due
	sync     time.Duration // the same, while the server writes to its disk
	idle     time.Duration // until a connection that is not used is closed
	patience time.Duration // after a connection was lost, with trying again
}

// New returns a store, and does not connect yet.
func New(o Options) *Store {
	return &Store{
		o: o,
		times: times{
			dial: 20 * time.Second, stall: 30 * time.Second, sync: 10 * time.Minute,
			idle: time.Minute, patience: 45 * time.Second,
		},
		lock: make(chan struct{}, 1),
	}
}

// Place implements [object.Store].
func (s *Store) Place(key string) string {
	if key == "" {
		return s.o.URL()
	}
	return s.o.URL() + "/" + key
}

// path is where key lies on the server.
func (s *Store) path(key string) string { return path.Join(s.o.Path, key) }

// version is what is known of a file that changes when it is replaced.
func version(info fs.FileInfo) string {
	return strconv.FormatInt(info.Size(), 36) + "-" + strconv.FormatInt(info.ModTime().Unix(), 36)
}

func about(info fs.FileInfo) object.Info {
	return object.Info{Size: info.Size(), Version: version(info), Modified: info.ModTime()}
}

// Hidden files are written to before they are objects.
const (
	hiddenPrefix = ".holdfast-"
	hiddenSuffix = ".part"
)

func isHidden(name string) bool {
	return strings.HasPrefix(name, hiddenPrefix) && strings.HasSuffix(name, hiddenSuffix)
}

var errVanished = errors.New("its folder is removed again and again while it is written")
