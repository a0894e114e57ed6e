package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// TestProtected holds who is protected to testdata/protect. A file has what is on
// the Engine (a container's id, state and network, its addresses, and the ports
// that lead to it as address:port), the worker's lifeline (self ID; network ID;
// peer WHAT ADDRESS [local] [near] [listener=ID|host]), and who is protected.
func TestProtected(t *testing.T) {
	files, err := filepath.Glob("testdata/protect/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			containers := linked(t, section(archive, "engine").Data)
			got := ""
			for range 10 { // the order of the containers must not matter
				slices.Reverse(containers)
				why := Protected(containers, lifelineOf(t, section(archive, "lifeline").Data))
				got = ""
				for _, id := range slices.Sorted(maps.Keys(why)) {
					got += fmt.Sprintf("%s: %s\n", strings.TrimRight(id, "0"), why[id])
				}
			}
			want := section(archive, "protected")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("protected are\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

func linked(t *testing.T, text []byte) (containers []engine.Container) {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		network := fields[2]
		if id, ok := strings.CutPrefix(network, "container:"); ok {
			network = "container:" + fill(id)
		}
		c := engine.Container{ID: fill(fields[0]), Name: fields[0], State: events.State(fields[1]), Network: network}
		for _, at := range fields[3:] {
			if port, err := netip.ParseAddrPort(at); err == nil {
				c.Ports = append(c.Ports, port)
			} else {
				c.Addresses = append(c.Addresses, netip.MustParseAddr(at).String())
			}
		}
		containers = append(containers, c)
	}
	return containers
}

func lifelineOf(t *testing.T, text []byte) (l Lifeline) {
	t.Helper()
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "self":
			l.Self = fill(fields[1])
		case "network":
			l.Network = fill(fields[1])
		case "peer":
			p := Peer{What: fields[1]}
			if fields[2] != "-" {
				p.Address = netip.MustParseAddrPort(fields[2])
			}
			for _, flag := range fields[3:] {
				p.Local = p.Local || flag == "local"
				p.Near = p.Near || flag == "near"
				if id, ok := strings.CutPrefix(flag, "listener="); ok && id == "host" {
					p.Listener = &Listener{}
				} else if ok {
					p.Listener = &Listener{Container: fill(id)}
				}
			}
			l.Peers = append(l.Peers, p)
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return l
}
