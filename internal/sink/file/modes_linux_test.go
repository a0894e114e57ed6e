package file_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/fstest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

var accepted = file.Options{ModesIgnored: true}

// Where modes mean nothing no sink is set up, and nothing is stored in one that is
// there, unless that is accepted.
func TestWhereModesMeanNothing(t *testing.T) {
	dir := fstest.Modeless(t)
	_, err := file.Open(t.Context(), dir, "", file.Options{})
	wants(t, "open", err, sink.ErrUnavailable, dir, "mode 0777", "modes: ignored")
	if found := contents(t, dir); len(found) != 0 {
		t.Errorf("something was made: %q", found)
	}

	open, err := file.Open(t.Context(), dir, "", accepted)
	must(t, err)
	store(t, open, aPoint, "1")
	probed, err := open.Probe(t.Context())
	warnings := probed.Warnings
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "mode 0777") {
		t.Errorf("the warnings are %q, %v; want one that says the mode", warnings, err)
	}

	before := contents(t, dir)
	strict, err := file.Open(t.Context(), dir, open.ID(), file.Options{})
	must(t, err) // it can be read
	if dirs, err := points(t, strict); err != nil || len(dirs) != 1 {
		t.Errorf("the points are %q, %v", dirs, err)
	}
	_, err = strict.Stage(t.Context(), otherDir, "1")
	wants(t, "stage", err, sink.ErrUnavailable, dir, "mode 0777", "modes: ignored")
	_, err = strict.Probe(t.Context())
	wants(t, "probe", err, sink.ErrUnavailable, dir, "mode 0777", "modes: ignored")
	same(t, before, contents(t, dir))
}

// What counts is what came of a mode, and not whether it could be changed: a mount
// option can keep others out as well.
func TestFixedModes(t *testing.T) {
	for _, test := range []struct {
		perms, chmod string
		open         bool
	}{
		{"0700", "--chmod-ignore", false},
		{"0700", "--chmod-deny", false},
		{"0600,u+X", "--chmod-deny", false},
		{"0750", "--chmod-deny", true},
		{"0604,a+X", "--chmod-ignore", true},
	} {
		dir := fstest.Bindfs(t, "--perms="+test.perms, test.chmod)
		s, err := file.Open(t.Context(), dir, "", file.Options{})
		if err == nil {
			err = tryStore(t.Context(), s, aPoint)
		}
		if test.open {
			wants(t, fmt.Sprint(test), err, sink.ErrUnavailable, "modes: ignored")
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		if err := probe(t, s); err != nil {
			t.Errorf("%v: %v", test, err)
		}
	}
}

func TestConformanceWhereModesMeanNothing(t *testing.T) {
	root := fstest.Modeless(t)
	sinktest.Run(t, func(t *testing.T) sinktest.Place {
		dir, err := os.MkdirTemp(root, "")
		must(t, err)
		return modeless{folder(filepath.Join(dir, "sink"))}.made(t)
	})
}

// modeless is a folder for a sink where modes mean nothing.
type modeless struct{ folder }

func (m modeless) made(t *testing.T) modeless {
	mkdir(t, string(m.folder))
	return m
}

func (m modeless) Open(t *testing.T) sink.Sink {
	s, err := file.Open(t.Context(), string(m.folder), "", accepted)
	must(t, err)
	return s
}

func (m modeless) Replace(t *testing.T) {
	m.Vanish(t)
	m.made(t).Open(t)
}

// Default ACLs of the folder that the sink lies in do not open what is stored.
func TestDefaultACLs(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("setfacl", "-m", "d:u:12345:rwx,d:g:12345:rwx,d:o::rwx,d:m::rwx", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("setfacl (Debian's package acl): %v: %s", err, out)
	}
	s := open(t, dir)
	store(t, s, aPoint, "1")
	for name := range contents(t, dir) {
		out, err := exec.Command("getfacl", "-cpE", name).CombinedOutput()
		must(t, err)
		if !strings.Contains(string(out), "mask::---") || !strings.Contains(string(out), "other::---") {
			t.Errorf("%s has the entries\n%s", name, out)
		}
	}
}

// Folders of the sink that others may change are told.
func TestFoldersThatOthersMayChange(t *testing.T) {
	for _, name := range []string{"", "points", "staging"} {
		dir := t.TempDir()
		s := open(t, dir)
		store(t, s, aPoint, "1")
		at := filepath.Join(dir, name)
		must(t, os.Chmod(at, 0o777))
		probed, err := s.Probe(t.Context())
		warnings := probed.Warnings
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], at) {
			t.Errorf("the warnings are %q, %v; want one that names %s", warnings, err, at)
		}
		must(t, os.Chmod(at, 0o700))
	}
}
