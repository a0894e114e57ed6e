package open

import (
	"errors"
	"fmt"
	"net/url"
	slashpath "path"
	"strconv"
	"strings"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
)

// sftpScheme is the scheme of sinks in a folder of a server: sftp://user@host:port/path.
var sftpScheme = inStore(sftpStore, "key", "keyPassphraseFile", "passwordFile", "knownHosts")

func sftpStore(c Config, _ bool) (object.Store, error) {
	o, err := sftpOptions(c)
	if err != nil {
		return nil, err
	}
	return sftp.New(o), nil
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
