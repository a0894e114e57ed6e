package transport_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/transport"
)

// A save is refused for want of room only where the disk is proven to be the Engine's:
// a folder of another machine's Engine may have the same name here. What the Engine
// stages may lie on a disk of its own.
func TestReserve(t *testing.T) {
	container := transport.Disk{About: engine.About{DataRoot: "/var/lib/docker", Store: "overlay2", Stages: true}, Container: "c1"}
	image := container
	image.Container, image.Image = "", "sha256:abc"
	streams := container
	streams.About.Stages = false
	there := map[string]int64{
		"/var/lib/docker":     1 << 40,
		"/var/lib/docker/tmp": 100,
	}
	for name, c := range map[string]struct {
		disk    transport.Disk
		own     string // what is there of the Engine's own
		size    int64
		refused bool
		doubt   bool
	}{
		"it is the Engine's, and full":             {container, "/var/lib/docker/containers/c1", 101, true, false},
		"it is the Engine's, by an image":          {image, "/var/lib/docker/image/overlay2/imagedb/content/sha256/abc", 101, true, false},
		"it is the Engine's, and has room":         {container, "/var/lib/docker/containers/c1", 100, false, false},
		"it may be another machine's":              {container, "/var/lib/docker/containers/c2", 101, false, true},
		"it may be another machine's and has room": {container, "", 100, false, false},
		"nothing is staged":                        {streams, "/var/lib/docker/containers/c1", 101, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &transport.Save{Room: func(dir string) (int64, error) {
				if free, ok := there[dir]; ok || dir == c.own {
					return free, nil
				}
				return 0, fs.ErrNotExist
			}}
			release, doubt, err := s.Reserve(c.disk, c.size)
			if errors.Is(err, engine.ErrEngineFull) != c.refused || (doubt != "") != c.doubt {
				t.Fatalf("it reports %v with the doubt %q", err, doubt)
			}
			if c.doubt && !strings.Contains(doubt, "101 B") {
				t.Errorf("the doubt %q does not say how much is needed", doubt)
			}
			if err == nil {
				release()
				release()
			}
			if _, _, err := s.Reserve(c.disk, 100); err != nil {
				t.Errorf("the room was not given back: %v", err)
			}
		})
	}
}
