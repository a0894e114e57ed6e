package nats_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
)

func TestScriptRefuses(t *testing.T) {
	f := writeFleet(t)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":               {nil, "fleet init DIR SERVER..."},
		"an unknown command":    {[]string{"tenant", f.dir, "x"}, "fleet init DIR SERVER..."},
		"a fleet that is there": {[]string{"init", f.dir, "localhost"}, "is there already"},
		"no fleet":              {[]string{"host", t.TempDir(), "web01"}, "is no fleet"},
		"a host that is there":  {[]string{"host", f.dir, "web01"}, "host-web01 is there already"},
		"a host id with a dot":  {[]string{"host", f.dir, "web.01"}, "'web.01' is no name"},
		"a wildcard":            {[]string{"host", f.dir, "*"}, "'*' is no name"},
		"no grant":              {[]string{"publisher", f.dir, "cd"}, "fleet init DIR SERVER..."},
		"a grant of all":        {[]string{"publisher", f.dir, "cd", ">"}, "> is no request"},
		"a grant to quote":      {[]string{"publisher", f.dir, "cd", `backup.host.x" } }`}, "is no request"},
		"an unknown user":       {[]string{"password", f.dir, "host-nobody"}, "there is no user host-nobody"},
		"a path":                {[]string{"remove", f.dir, "../accounts/host-web01"}, "there is no user"},
		"the operator's end":    {[]string{"remove", f.dir, operator}, "a fleet needs its operator"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command("./fleet", test.args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), test.want) {
				t.Errorf("%v\n%s; want %q", err, out, test.want)
			}
		})
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "server", "accounts")); err != nil || len(left) != 4 {
		t.Errorf("what was refused left something: %v, %v", left, err)
	}
}

func TestScriptNamesMissingPackages(t *testing.T) {
	bin := t.TempDir()
	for _, program := range []string{"bash", "dirname", "realpath"} {
		path, err := exec.LookPath(program)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, program))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("./fleet", "init", filepath.Join(t.TempDir(), "fleet"), "localhost")
	cmd.Env = []string{"PATH=" + bin}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "apt-get install openssl apache2-utils") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSecretsAreTheirOwners looks at what the script leaves.
func TestSecretsAreTheirOwners(t *testing.T) {
	f := writeFleet(t)
	var passwords []string
	err := filepath.WalkDir(f.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if e.Name() == "password" {
			passwords = append(passwords, strings.TrimSpace(read(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(passwords)
	if n := len(slices.Compact(passwords)); n != 5 || len(passwords[0]) != 48 {
		t.Errorf("%d passwords differ, of %d users, the first is %d characters long", n, len(passwords), len(passwords[0]))
	}
	for _, name := range []string{"holdfast.conf", "accounts/host-web01.conf"} {
		text := read(t, filepath.Join(f.dir, "server", name))
		for _, p := range passwords {
			if strings.Contains(text, p) {
				t.Errorf("%s has a password", name)
			}
		}
	}
}

func TestServerTakesNobodyElse(t *testing.T) {
	f := newFleet(t)
	for name, test := range map[string]struct {
		change func(*bus.Options)
		want   string
	}{
		"without a password":   {func(o *bus.Options) { o.User, o.Password = "", "" }, "Authorization"},
		"with another's":       {func(o *bus.Options) { o.User = web01 }, "Authorization"},
		"who does not know it": {func(o *bus.Options) { o.TLS.CA = "" }, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			o := f.options(db01)
			test.change(&o)
			b, err := bus.Connect(within(t, bustest.Patience), o)
			if err == nil {
				t.Fatal(b.Close(), "connected")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}
