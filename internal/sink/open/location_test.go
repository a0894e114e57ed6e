package open_test

import (
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sink/open"
)

func TestLocation(t *testing.T) {
	t.Chdir(t.TempDir())
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
		"s3://bucket/folder":          `scheme "s3"`,
		"S3://bucket":                 `scheme "s3"`,
		"s3:bucket":                   `scheme "s3"`,
		"sftp://host/folder":          `scheme "sftp"`,
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
