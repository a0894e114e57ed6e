// Package open opens sinks by their configuration: the scheme of a sink's URL says
// which implementation it is. A request names a sink; it never brings a URL.
package open

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/limit"
	"holdfast.io/holdfast/internal/sink/quota"
)

// Config is the configuration of one sink: plain data, which [Location] checks. What is
// only for sinks of some schemes is an error with others.
type Config struct {
	// URL is where the sink lies: a path, file:///path in which odd characters are
	// percent-encoded, s3://bucket/prefix, nats://bucket/prefix,
	// azblob://container/prefix, oci://registry:port/repository, or sftp://user@host:port/path,
	// in which /~/path is relative to the folder in which the server lets the user begin.
	URL string `yaml:"url"`
	// Shared is set for a sink that other hosts have under the same name: any of them may
	// verify, prune and copy what lies there.
	Shared bool `yaml:"shared"`
	// Recipients, IdentityFile, IdentityCommand and NameKeyFile are as in [seal.Options].
	Recipients      []string `yaml:"recipients"`
	IdentityFile    string   `yaml:"identityFile"`
	IdentityCommand []string `yaml:"identityCommand"`
	NameKeyFile     string   `yaml:"nameKeyFile"`
	// Format is how images are stored there: [layered.Layers] or [layered.Archive]. An empty one
	// leaves that to the sink, which keeps with which it was set up. Points of both may lie in
	// one sink.
	Format string `yaml:"format"`
	// Signers are public keys of SSH. With any, a point that neither one of them nor this
	// worker has signed is damaged.
	Signers []string `yaml:"signers"`
	// Limit is how many bytes go to the sink in a second, in LimitHours; see [limit.Options].
	Limit      bytesize.Size `yaml:"limit"`
	LimitHours string        `yaml:"limitHours"`
	// Lock and LockFor are as in [s3.Lock]: how points are locked, and for how long.
	Lock    string        `yaml:"lock"`
	LockFor time.Duration `yaml:"lockFor"`
	// Quota is how many bytes Holdfast may have in the sink; 0 for as many as fit. See
	// package quota.
	Quota bytesize.Size `yaml:"quota"`

	// Modes is ModesIgnored for a file sink on a file system that keeps no modes,
	// which is refused otherwise.
	Modes string `yaml:"modes"`

	// Those of an S3 sink are as in [s3.Options].
	Endpoint             string        `yaml:"endpoint"`
	Region               string        `yaml:"region"`
	PathStyle            bool          `yaml:"pathStyle"`
	StorageClass         string        `yaml:"storageClass"`
	ServerSideEncryption string        `yaml:"serverSideEncryption"`
	CA                   string        `yaml:"ca"`
	CredentialsFile      string        `yaml:"credentialsFile"`
	Profile              string        `yaml:"profile"`
	MaxArtifact          bytesize.Size `yaml:"maxArtifact"`
	MaxParts             int           `yaml:"maxParts"`

	// Those of an Azure sink, beside Endpoint, CA, MaxArtifact and StorageClass, which is the
	// access tier, are as in [azure.Options].
	Account        string `yaml:"account"`
	AccountKeyFile string `yaml:"accountKeyFile"`
	SASFile        string `yaml:"sasFile"`

	// Those of an SFTP sink are as in [sftp.Options].
	Key               string `yaml:"key"`
	KeyPassphraseFile string `yaml:"keyPassphraseFile"`
	PasswordFile      string `yaml:"passwordFile"`
	KnownHosts        string `yaml:"knownHosts"`

	// Those of a NATS sink, beside CA, CredentialsFile and PasswordFile, are as in
	// [objects.Options].
	Server   string        `yaml:"server"`
	UserFile string        `yaml:"userFile"`
	MaxBytes bytesize.Size `yaml:"maxBytes"`

	// Those of a sink in a registry are Endpoint, CA, UserFile, PasswordFile, and CredentialsFile,
	// which is the Config of [oci.Options].
}

// paths returns the members that are paths of this machine.
func (c *Config) paths() []*string {
	return []*string{
		&c.IdentityFile, &c.CA, &c.CredentialsFile, &c.Key, &c.KeyPassphraseFile, &c.PasswordFile, &c.KnownHosts, &c.UserFile,
		&c.AccountKeyFile, &c.SASFile, &c.NameKeyFile,
	}
}

// Location checks a configuration and returns where the sink lies in its one
// canonical form, for people and to recognize the sink by. It holds no secret. The
// location of a file sink is its absolute path.
func Location(c Config) (string, error) {
	s, err := check(c, nil)
	return s.location, err
}

// Existing returns the sink that is there, whichever it is, and sets none up. own are the
// public keys of this worker. Errors wrap [sink.ErrUnavailable], unless the configuration
// is wrong.
func Existing(ctx context.Context, c Config, own []string) (sink.Sink, error) {
	s, err := check(c, own)
	if err != nil {
		return nil, err
	}
	opened, err := s.scheme.existing(ctx, c, s.location)
	if err != nil {
		return nil, err
	}
	return s.complete(opened, nil)
}

// Caveats says what an operator should know of a configuration that can be used.
func Caveats(c Config) (sentences []string) {
	if s, err := schemeOf(c); err == nil && !s.isPath && len(c.Recipients) == 0 {
		sentences = append(sentences,
			"what is stored leaves this machine in clear, also the secrets in container.json; name recipients to encrypt it")
	}
	if c.Shared && len(c.Signers) == 0 {
		sentences = append(sentences, "it is shared, and any signature counts; name the signers whose points are to be trusted")
	}
	return sentences
}

// settings are a configuration that was checked.
type settings struct {
	config   Config
	scheme   scheme
	location string
	seal     *seal.Seal // nil if nothing is encrypted
	trust    *sign.Trust
	limit    limit.Options // zero for none
}

func check(c Config, own []string) (s settings, err error) {
	s.config = c
	if s.scheme, err = schemeOf(c); err != nil {
		return settings{}, err
	}
	if s.location, err = s.scheme.location(c); err != nil {
		return settings{}, err
	}
	if err := checkFormat(c); err != nil {
		return settings{}, err
	}
	o := seal.Options{Recipients: c.Recipients, IdentityFile: c.IdentityFile, IdentityCommand: c.IdentityCommand, NameKeyFile: c.NameKeyFile}
	if s.seal, err = seal.New(o); err != nil {
		return settings{}, err
	}
	if s.limit = (limit.Options{Rate: int64(c.Limit), Hours: c.LimitHours}); s.limit != (limit.Options{}) {
		if err := s.limit.Check(); err != nil {
			return settings{}, err
		}
	}
	if s.trust, err = sign.NewTrust(own, c.Signers); err != nil {
		return settings{}, err
	}
	return s, nil
}

func checkFormat(c Config) error {
	switch {
	case c.Format != "" && c.Format != layered.Archive && c.Format != layered.Layers:
		return fmt.Errorf("the format %q is not known: it is %s or %s", c.Format, layered.Archive, layered.Layers)
	case c.NameKeyFile != "" && (c.Format == layered.Archive || len(c.Recipients) == 0):
		return fmt.Errorf("nameKeyFile is for a sink with both format %s and recipients: leave it out, or set both", layered.Layers)
	case c.Format == layered.Layers && lacksNames(c):
		return errNoNames
	}
	return nil
}

var errNoNames = fmt.Errorf("format %s with recipients needs nameKeyFile, a key by which layers are found again, "+
	"the same on every host that stores there; make one with %s", layered.Layers, seal.MakeNameKey)

// lacksNames reports whether layers cannot be stored for want of a key.
func lacksNames(c Config) bool { return len(c.Recipients) > 0 && c.NameKeyFile == "" }

// forNew returns the configuration with the format that a sink gets which is set up by it.
func forNew(c Config) Config {
	if c.Format == "" {
		if c.Format = layered.Layers; lacksNames(c) {
			c.Format = layered.Archive
		}
	}
	return c
}

// formatOf returns the format of new points in a sink.
func formatOf(c Config, opened sink.Sink) (string, error) {
	if c.Format == "" {
		if own, ok := sink.As[sink.Formatted](opened); ok {
			c.Format = own.Format()
		}
		if err := checkFormat(c); err != nil && c.Format != layered.Archive {
			return "", fmt.Errorf("%w: it was set up with format %s, and the configuration names none: %w; or set format: %s",
				sink.ErrUnavailable, c.Format, err, layered.Archive)
		}
	}
	return c.Format, nil
}

// complete returns a sink with how it stores images, and is bounded, encrypted and signed.
func (s settings) complete(opened sink.Sink, signer *sign.Signer) (sink.Sink, error) {
	format, err := formatOf(s.config, opened)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.location, err)
	}
	if s.limit != (limit.Options{}) {
		opened = limit.New(opened, s.limit)
	}
	if s.config.Quota > 0 { // outside of what else wraps Stage: see sink.StageAtLeast
		opened = quota.New(opened, int64(s.config.Quota), s.location)
	}
	if format == layered.Layers {
		opened = &layered.Sink{Sink: opened}
	}
	if s.seal != nil {
		opened = &seal.Sealed{Sink: opened, Seal: s.seal}
	}
	return &sign.Signed{Sink: opened, Signer: signer, Trust: s.trust}, nil
}

// scheme is one kind of URL, and how its sinks are opened.
type scheme struct {
	// members are what a configuration may have beside what all have, by their names in
	// the file.
	members []string
	// isPath is set if the location is a path of this machine.
	isPath bool
	// location is as [Location].
	location func(c Config) (string, error)
	// open opens the sink whose id is known from earlier; an empty id lets it set
	// one up. existing opens the sink that is there.
	open     func(ctx context.Context, c Config, location, known string) (sink.Sink, error)
	existing func(ctx context.Context, c Config, location string) (sink.Sink, error)
}

var schemes = map[string]scheme{
	fileScheme: file,
	"nats":     natsScheme,
	"s3":       s3Scheme,
	"azblob":   azureScheme,
	"sftp":     sftpScheme,
	"oci":      ociScheme,
}

// asSink keeps a nil pointer from becoming a sink.
func asSink[S sink.Sink](s S, err error) (sink.Sink, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// schemeName is how a URL begins that is no path. One letter is a Windows drive.
var schemeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// schemeOf returns the scheme of a sink, whose members it has checked to be meant for it.
func schemeOf(c Config) (scheme, error) {
	name := schemeIn(c.URL)
	if name == "" {
		name = fileScheme // a path
	}
	s, ok := schemes[name]
	if !ok {
		return scheme{}, fmt.Errorf("the scheme %q is not known: this version stores to a path, and to URLs of %s",
			name, strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	}
	return s, checkMembers(c, name, s.members)
}

// common are the members that all sinks have.
var common = []string{"url", "shared", "recipients", "identityFile", "identityCommand", "nameKeyFile", "signers", "limit", "limitHours",
	"quota", "format"}

// checkMembers refuses members that only sinks of other schemes have.
func checkMembers(c Config, scheme string, own []string) error {
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		member := v.Type().Field(i).Tag.Get("yaml")
		if !v.Field(i).IsZero() && !slices.Contains(common, member) && !slices.Contains(own, member) {
			return fmt.Errorf("%s is no setting of a sink with the scheme %s; it has: %s",
				member, scheme, strings.Join(slices.Concat(common, own), ", "))
		}
	}
	return nil
}
