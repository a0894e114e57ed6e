package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"holdfast.io/holdfast/internal/fstest"
	"holdfast.io/holdfast/internal/state"
)

// Where modes mean nothing there is no state dir, and so never a password.
func TestAStateDirNeedsModes(t *testing.T) {
	root := fstest.Modeless(t)
	for _, path := range []string{root, filepath.Join(root, "new")} {
		d, err := state.Hold(path)
		if d != nil || !errors.Is(err, state.ErrOpenToOthers) || !strings.Contains(err.Error(), "mode 0777") ||
			!strings.Contains(err.Error(), "--state-dir") {
			t.Errorf("Hold = %v, %v; want ErrOpenToOthers with the mode and the remedy", d, err)
		}
		wantOnlyLock(t, path)
	}
}

func wantOnlyLock(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != "new" {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}

// A mount option can keep others out as well as modes do.
func TestAStateDirWithFixedModes(t *testing.T) {
	for _, chmod := range []string{"--chmod-ignore", "--chmod-deny"} {
		path := fstest.Bindfs(t, "--perms=0700", chmod)
		d := hold(t, path)
		must(t, d.Announce(state.Endpoint{Password: "secret"}))
		if end, err := state.Find(path); err != nil || end.Password != "secret" {
			t.Errorf("%s: the endpoint is %+v, %v", chmod, end, err)
		}
		must(t, d.Close())
	}
}

// A folder of the state dir that is a mount of another file system is looked at
// too.
func TestAFolderOfTheStateDirNeedsModes(t *testing.T) {
	modeless := fstest.Modeless(t)
	for _, name := range []string{"undo", "nats"} {
		path := t.TempDir()
		d := hold(t, path)
		must(t, os.Symlink(modeless, filepath.Join(path, name)))
		var err error
		if name == "undo" {
			_, err = d.Records()
		} else {
			_, err = d.NATS()
		}
		if !errors.Is(err, state.ErrOpenToOthers) {
			t.Errorf("%s: the error is %v, want %v", name, err, state.ErrOpenToOthers)
		}
	}
}

// Modes that the umask or an earlier folder would leave are set.
func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		path := filepath.Join(t.TempDir(), "state")
		must(t, os.Mkdir(path, 0o777))
		must(t, os.Chmod(path, 0o777))
		must(t, os.Mkdir(filepath.Join(path, "undo"), 0o777))
		must(t, os.Chmod(filepath.Join(path, "undo"), 0o777))
		func() {
			defer syscall.Umask(syscall.Umask(umask))
			d := hold(t, path)
			must(t, d.Announce(state.Endpoint{Password: "secret"}))
			n := aRecord(1)
			must(t, records(t, d).Write(&n))
			_, err := d.NATS()
			must(t, err)
			for name, want := range map[string]os.FileMode{"endpoint.json": 0o600, "undo": 0o700, "nats": 0o700, "undo/" + n.ID + ".json": 0o600} {
				if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode().Perm() != want {
					t.Errorf("with the umask %04o %s has %v, %v; want %04o", umask, name, info.Mode().Perm(), err, want)
				}
			}
			if end, err := state.Find(path); err != nil || end.Password != "secret" {
				t.Errorf("with the umask %04o the endpoint is %+v, %v", umask, end, err)
			}
		}()
	}
}

// What another user made, or may have changed, is not followed: an endpoint leads
// commands, with what they carry, to whoever made it.
func TestAnEndpointOfOthers(t *testing.T) {
	path := t.TempDir()
	d := hold(t, path)
	must(t, d.Announce(state.Endpoint{URL: "nats://127.0.0.1:4222"}))
	endpoint := filepath.Join(path, "endpoint.json")
	must(t, os.Chmod(endpoint, 0o666))
	if _, err := state.Find(path); err == nil || !strings.Contains(err.Error(), "may be changed by other users") {
		t.Errorf("an endpoint that others may change: %v", err)
	}
	must(t, os.Chmod(endpoint, 0o600))
	if os.Geteuid() != 0 {
		return // only root can give a file away
	}
	must(t, os.Chown(endpoint, 12345, -1))
	if _, err := state.Find(path); err == nil || !strings.Contains(err.Error(), "made by another user (12345)") {
		t.Errorf("an endpoint of another user: %v", err)
	}
	// Root may follow a worker that runs as another user.
	must(t, os.Chown(path, 12345, -1))
	if _, err := state.Find(path); err != nil {
		t.Errorf("an endpoint of the state dir's owner: %v", err)
	}
	must(t, os.Chown(path, 0, -1))
}

// What a process that died was just writing, perhaps a password, does not stay.
func TestHalfWrittenFiles(t *testing.T) {
	path := t.TempDir()
	half := filepath.Join(path, ".endpoint.json.123456")
	must(t, os.WriteFile(half, []byte(`{"password"`), 0o600))
	other := filepath.Join(path, ".lost+found")
	must(t, os.WriteFile(other, nil, 0o600))
	hold(t, path)
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file that is not ours has gone: %v", err)
	}
}

// A record that others may have changed is not followed: it names commands.
func TestARecordOfOthers(t *testing.T) {
	path := t.TempDir()
	kept := records(t, hold(t, path))
	n, other := aRecord(1), aRecord(2)
	must(t, kept.Write(&n))
	must(t, kept.Write(&other))
	must(t, os.Chmod(filepath.Join(path, "undo", other.ID+".json"), 0o602))
	list, err := kept.List()
	if len(list) != 1 || !reflect.DeepEqual(list[0], n) || err == nil || !strings.Contains(err.Error(), other.ID) {
		t.Errorf("the records are %+v, %v; want %+v, and an error that names the other one", list, err, n)
	}
}

func TestExposed(t *testing.T) {
	path := t.TempDir()
	for mode, exposed := range map[os.FileMode]bool{
		0o700: false, 0o755: false, 0o770: true, 0o702: true, 0o777: true, 0o777 | os.ModeSticky: false,
	} {
		must(t, os.Chmod(path, mode))
		said, err := state.Exposed(path)
		if err != nil || (said != "") != exposed {
			t.Errorf("with the mode %s it says %q, %v", mode, said, err)
		}
	}
	must(t, os.Chmod(path, 0o700))
	if _, err := state.Exposed(filepath.Join(path, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a folder that is not there it says %v", err)
	}
}
