package open_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink/open"
)

func TestLocation(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("AZURE_STORAGE_ACCOUNT", "examplestore")
	relative, err := filepath.Abs("backups")
	if err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{
		"/mnt/backup":                "/mnt/backup",
		"/mnt/backup/":               "/mnt/backup",
		"/mnt//a/../backup/.":        "/mnt/backup",
		"/mnt/a:b":                   "/mnt/a:b",
		"/mnt/100%?#":                "/mnt/100%?#",
		"/mnt/%20":                   "/mnt/%20",
		"backups":                    relative,
		"./backups":                  relative,
		"file:///mnt/backup":         "/mnt/backup",
		"FILE:///mnt/backup/":        "/mnt/backup",
		"file:/mnt/backup":           "/mnt/backup",
		"file:///mnt/a%20b%3F%23%25": "/mnt/a b?#%",
		"file:///":                   "/",
		"s3://bucket":                "s3://bucket",
		"S3://bucket/":               "s3://bucket",
		"s3://bucket/a%20b/c/":       "s3://bucket/a b/c",

		"azblob://backup":         "azblob://backup (https://examplestore.blob.core.windows.net)",
		"AZBLOB://backup/":        "azblob://backup (https://examplestore.blob.core.windows.net)",
		"azblob://backup/a%20b/c": "azblob://backup/a b/c (https://examplestore.blob.core.windows.net)",

		"sftp://u@host/srv/backups":         "sftp://u@host/srv/backups",
		"SFTP://u@Host:22//srv/./backups/":  "sftp://u@host/srv/backups",
		"sftp://u@host:2222/srv/a%20b%3F":   "sftp://u@host:2222/srv/a%20b%3F",
		"sftp://u@[::1]:2222/x":             "sftp://u@[::1]:2222/x",
		"sftp://u@[::1]/x":                  "sftp://u@[::1]/x",
		"sftp://u@host/~/backups/":          "sftp://u@host/~/backups",
		"sftp://u@host/~":                   "sftp://u@host/~",
		"sftp://domain%5Cu@host/~backups/x": "sftp://domain%5Cu@host/~backups/x",
		"sftp://u@host/":                    "sftp://u@host/",
	} {
		got, err := open.Location(open.Config{URL: location})
		if err != nil || got != want {
			t.Errorf("Location(%q) = %q, %v, want %q", location, got, err, want)
		}
	}
}

func TestLocationRefuses(t *testing.T) {
	for location, want := range map[string]string{
		"":                            "empty",
		"file://":                     "empty",
		"s3:bucket":                   "s3://bucket/prefix",
		"s3://":                       "names no bucket",
		"s3:///prefix":                "names no bucket",
		"s3://bucket:9000/x":          "endpoint",
		"s3://key:secret@bucket":      "without user",
		"s3://bucket/x?region=y":      "without user, query",
		"s3://bucket/a/../b":          "not a key",
		"azblob:backup":               "azblob://bucket/prefix",
		"azblob://":                   "names no bucket",
		"azblob://backup:443/x":       "endpoint",
		"azblob://key:secret@backup":  "without user",
		"azblob://backup?sig=secret":  "without user, query",
		"gs://bucket":                 `scheme "gs"`,
		"sftp://host/folder":          "sftp://user@host",
		"sftp://u@/folder":            "sftp://user@host",
		"sftp://u@host":               "sftp://user@host",
		"sftp:u@host/folder":          "sftp://user@host",
		"sftp://u:secret@host/x":      "without password",
		"sftp://u:@host/x":            "without password",
		"sftp://u:secret@host/%zz":    "not a valid URL",
		"sftp://u@host/x?key=y":       "without password, query",
		"sftp://u@host/x#":            "fragment",
		"sftp://u@host:0/x":           "not a port",
		"sftp://u@host:70000/x":       "not a port",
		"https://u:secret@host/x":     `scheme "https"`,
		"https://u:secret@host/%zz":   `scheme "https"`,
		"file://backup/mnt":           "file:///path",
		"file://localhost/mnt":        "file:///path",
		"file://u:secret@/mnt":        "file:///path",
		"file:mnt/backup":             "file:///path",
		"file:///mnt/backup?compress": "file:///path",
		"file:///mnt/backup?":         "file:///path",
		"file:///mnt/backup#x":        "file:///path",
		"file:///mnt/backup#":         "file:///path",
		"file:///mnt/a%00b":           "NUL",
		"file:///mnt/a%zzb":           "not a valid URL",
		"/mnt/a\x00b":                 "NUL",
	} {
		got, err := open.Location(open.Config{URL: location})
		switch {
		case err == nil:
			t.Errorf("Location(%q) = %q, want that it is refused", location, got)
		case !strings.Contains(err.Error(), want):
			t.Errorf("Location(%q): %v, want it to say %q", location, err, want)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("Location(%q) shows the password: %v", location, err)
		}
	}
}

// What is meant for sinks of another scheme is no matter of taste: it would be without
// effect.
func TestMembers(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	for _, c := range []struct {
		config open.Config
		want   string // what the error says; empty for none
	}{
		{open.Config{URL: "s3://bucket", Endpoint: "https://s3.example.com:9000", PathStyle: true, MaxArtifact: 1 << 40}, ""},
		{open.Config{URL: "s3://bucket", ServerSideEncryption: "aws:kms:1234", StorageClass: "STANDARD_IA", Region: "eu-central-1"}, ""},
		{open.Config{URL: "/mnt", Endpoint: "https://x"}, "endpoint is no setting"},
		{open.Config{URL: "sftp://u@host/x", Key: "/id", KeyPassphraseFile: "/p", PasswordFile: "/w", KnownHosts: "/k"}, ""},
		{open.Config{URL: "sftp://u@host/x", KeyPassphraseFile: "/p"}, "for a key"},
		{open.Config{URL: "sftp://u@host/x", Modes: "ignored"}, "modes is no setting"},
		{open.Config{URL: "/mnt", PasswordFile: "/w"}, "passwordFile is no setting"},
		{open.Config{URL: "/mnt", MaxArtifact: 1}, "maxArtifact is no setting"},
		{open.Config{URL: "s3://bucket", Modes: "ignored"}, "modes is no setting"},
		{open.Config{URL: "s3://bucket", Endpoint: "s3.example.com"}, "endpoint must be https://"},
		{open.Config{URL: "s3://bucket", Endpoint: "https://u:secret@host"}, "endpoint must be https://"},
		{open.Config{URL: "s3://bucket", Endpoint: "https://host/path"}, "endpoint must be https://"},
		{open.Config{URL: "s3://bucket", ServerSideEncryption: "rot13"}, "AES256"},
		{open.Config{URL: "s3://bucket", CA: "/none"}, "/none"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", AccountKeyFile: "/none", StorageClass: "Cool", MaxArtifact: 1 << 40}, ""},
		{open.Config{URL: "azblob://backup", Account: "examplestore", SASFile: "/none", Endpoint: "http://127.0.0.1:10000/examplestore/"}, ""},
		{open.Config{URL: "azblob://backup"}, "AZURE_STORAGE_ACCOUNT"},
		{open.Config{URL: "azblob://backup", Account: "x.example.com/"}, "3 to 24 small letters"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", AccountKeyFile: "k", SASFile: "s"}, "exclude each other"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", Endpoint: "https://host/?sig=secret"}, "endpoint must be https://"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", Endpoint: "https://u:secret@host"}, "endpoint must be https://"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", StorageClass: "Archive"}, "Hot, Cool or Cold"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", CA: "/none"}, "/none"},
		{open.Config{URL: "azblob://backup", Account: "examplestore", Region: "x"}, "region is no setting"},
		{open.Config{URL: "s3://bucket", Account: "examplestore"}, "account is no setting"},
		{open.Config{URL: "nats://bucket/prefix", Server: "tls://a:4222,nats://b", UserFile: "u", PasswordFile: "p", MaxBytes: 1 << 30, CA: "ca"}, ""},
		{open.Config{URL: "nats://bucket", Server: "nats://host", CredentialsFile: "worker.creds"}, ""},
		{open.Config{URL: "nats://bucket"}, "needs server"},
		{open.Config{URL: "nats://host:4222/bucket", Server: "nats://host"}, "where it is goes into server"},
		{open.Config{URL: "nats://buck.et", Server: "nats://host"}, "letters, digits"},
		{open.Config{URL: "nats://bucket", Server: "nats://u:secret@host"}, "userFile and passwordFile"},
		{open.Config{URL: "nats://bucket", Server: "nats://u:secret%zz@host"}, "nats://host:port"},
		{open.Config{URL: "nats://bucket", Server: "https://host"}, "nats://host:port"},
		{open.Config{URL: "nats://bucket", Server: "nats://host", UserFile: "u"}, "go together"},
		{open.Config{URL: "nats://bucket", Server: "nats://host", Endpoint: "https://x"}, "endpoint is no setting"},
		{open.Config{URL: "s3://bucket", MaxBytes: 1}, "maxBytes is no setting"},
		{open.Config{URL: "oci://registry.example.com:5000/backups/web", UserFile: "u", PasswordFile: "p", Format: "layers"}, ""},
		{open.Config{URL: "oci://127.0.0.1:5000/backups", Endpoint: "http://127.0.0.1:5000", CredentialsFile: "config.json"}, ""},
		{open.Config{URL: "oci://registry.example.com"}, "oci://registry/repository"},
		{open.Config{URL: "oci:///backups"}, "oci://registry/repository"},
		{open.Config{URL: "oci://registry.example.com/Backups"}, "in small letters"},
		{open.Config{URL: "oci://registry.example.com/backups:latest"}, "without a tag"},
		{open.Config{URL: "oci://registry.example.com/backups@sha256:0"}, "without a tag"},
		{open.Config{URL: "oci://u:secret@registry.example.com/backups"}, "userFile and passwordFile"},
		{open.Config{URL: "oci://registry.example.com/backups", Endpoint: "http://other.example.com"}, "http://registry.example.com"},
		{open.Config{URL: "oci://registry.example.com/backups", UserFile: "u"}, "go together"},
		{open.Config{URL: "oci://registry.example.com/b", UserFile: "u", PasswordFile: "p", CredentialsFile: "c"}, "exclude each other"},
		{open.Config{URL: "oci://registry.example.com/backups", Region: "x"}, "region is no setting"},
		{open.Config{URL: "oci://registry.example.com/backups", CA: "/none"}, "/none"},
		{open.Config{URL: "/mnt", Format: "archive"}, ""},
		{open.Config{URL: "s3://bucket", Format: "layers"}, ""},
		{open.Config{URL: "/mnt", Format: "tar"}, "it is archive or layers"},
		{open.Config{URL: "/mnt", Format: "layers", Recipients: []string{recipient}}, "head -c 32 /dev/urandom"},
		{open.Config{URL: "/mnt", Format: "layers", Recipients: []string{recipient}, NameKeyFile: "/none"}, "nameKeyFile /none"},
		{open.Config{URL: "/mnt", Format: "layers", NameKeyFile: "/none"}, "or set both"},
		{open.Config{URL: "/mnt", Recipients: []string{recipient}, NameKeyFile: "/none"}, "nameKeyFile /none"},
		{open.Config{URL: "/mnt", Format: "archive", Recipients: []string{recipient}, NameKeyFile: "/none"}, "or set both"},
		{open.Config{URL: "/mnt", NameKeyFile: "/none"}, "or set both"},
		{open.Config{URL: "s3://bucket", Format: "layers", Lock: "governance", LockFor: time.Hour}, ""},
	} {
		_, err := open.Location(c.config)
		switch {
		case err == nil && c.want == "":
		case err == nil, c.want == "", !strings.Contains(err.Error(), c.want), strings.Contains(err.Error(), "secret"):
			t.Errorf("%+v: %v, want it to say %q", c.config, err, c.want)
		}
	}
}

// recipient is a public key of age.
const recipient = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"

func TestCaveats(t *testing.T) {
	for _, c := range []struct {
		config open.Config
		says   []string
	}{
		{open.Config{URL: "/mnt/backup"}, nil},
		{open.Config{URL: "/mnt/backup", Shared: true}, []string{"signers"}},
		{open.Config{URL: "s3://bucket"}, []string{"recipients"}},
		{open.Config{URL: "s3://bucket", Shared: true}, []string{"recipients", "signers"}},
		{open.Config{URL: "s3://bucket", Shared: true, Recipients: []string{"x"}, Signers: []string{"y"}}, nil},
	} {
		got := open.Caveats(c.config)
		if len(got) != len(c.says) {
			t.Errorf("%+v: %q, want %d sentences", c.config, got, len(c.says))
			continue
		}
		for i, word := range c.says {
			if !strings.Contains(got[i], word) {
				t.Errorf("%+v: %q, want it to say %s", c.config, got[i], word)
			}
		}
	}
}
