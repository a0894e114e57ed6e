package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	slashpath "path"
	"strconv"
	"strings"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
)

// sftpScheme is the scheme of sinks in a folder of a server: sftp://user@host:port/path.
var sftpScheme = scheme{
	members: []string{"key", "keyPassphraseFile", "passwordFile", "knownHosts"},
	location: func(c Config) (string, error) {
		o, err := sftpOptions(c)
		if err != nil {
			return "", err
		}
		return o.URL(), nil
	},
	open: func(ctx context.Context, c Config, _, known string) (sink.Sink, error) {
		return onSFTP(ctx, c, func(s *sftp.Store) (*object.Sink, error) { return object.Open(ctx, s, known) })
	},
	existing: func(ctx context.Context, c Config, _ string) (sink.Sink, error) {
		return onSFTP(ctx, c, func(s *sftp.Store) (*object.Sink, error) { return object.OpenExisting(ctx, s) })
	},
}

// spacious is a sink in a store that knows how much room it has.
type spacious struct {
	*object.Sink
	sink.Spacer
}

func onSFTP(ctx context.Context, c Config, open func(*sftp.Store) (*object.Sink, error)) (sink.Sink, error) {
	o, err := sftpOptions(c)
	if err != nil {
		return nil, err
	}
	store := sftp.New(o)
	opened, err := open(store)
	if err != nil {
		return nil, err
	}
	if tells, err := store.TellsFree(ctx); err != nil || !tells {
		return opened, err
	}
	return spacious{opened, store}, nil
}

var errSFTP = errors.New("it is sftp://user@host:port/path, without password, query or fragment; write '?' as %3F and '#' as %23. " +
	"/~/path is relative to the folder in which the server lets the user begin")

func sftpOptions(c Config) (sftp.Options, error) {
	if c.KeyPassphraseFile != "" && c.Key == "" {
		return sftp.Options{}, errors.New("keyPassphraseFile is for a key, and there is none")
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		// The error of the URL would repeat the location with its password.
		return sftp.Options{}, errors.New("the location is not a valid URL")
	}
	if _, secret := u.User.Password(); secret || u.RawQuery != "" || u.ForceQuery || strings.Contains(c.URL, "#") {
		return sftp.Options{}, errSFTP
	}
	if u.Hostname() == "" || u.User.Username() == "" || u.Path == "" || strings.ContainsRune(u.Path, 0) {
		return sftp.Options{}, errSFTP
	}
	port, err := portIn(u)
	return sftp.Options{
		User: u.User.Username(), Host: strings.ToLower(u.Hostname()), Port: port, Path: folderIn(u),
		Key: c.Key, KeyPassphraseFile: c.KeyPassphraseFile, PasswordFile: c.PasswordFile, KnownHosts: c.KnownHosts,
	}, err
}

func portIn(u *url.URL) (int, error) {
	if u.Port() == "" {
		return sftp.DefaultPort, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port", u.Port())
	}
	return int(port), nil
}

func folderIn(u *url.URL) string {
	at := slashpath.Clean(u.Path)
	if rest, home := strings.CutPrefix(at+"/", "/~/"); home {
		return slashpath.Clean(rest)
	}
	return at
}
