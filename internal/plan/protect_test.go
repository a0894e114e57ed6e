package plan

import (
	"maps"
	"net/netip"
	"testing"

	"holdfast.io/holdfast/internal/engine"
)

func TestProtected(t *testing.T) {
	peer := netip.MustParseAddrPort
	containers := []engine.Container{
		{ID: "self", Addresses: []string{"172.17.0.2"}},
		{ID: "nats", Addresses: []string{"172.17.0.3", ""}},
		{ID: "proxy", Ports: []uint16{2375, 8080}},
		{ID: "six", Addresses: []string{"172.17.0.4", "fd00::4"}},
		{ID: "bystander", Addresses: []string{"172.17.0.5", ""}, Ports: []uint16{80}},
	}
	cases := map[string]struct {
		lifeline Lifeline
		want     map[string]string
	}{
		"on the host, all by socket files": {Lifeline{}, map[string]string{}},
		"in a container": {Lifeline{Self: "self"}, map[string]string{
			"self": "it is the worker's own container"}},
		"by the address of a container": {Lifeline{Peers: map[string][]netip.AddrPort{"NATS": {peer("172.17.0.3:4222")}}},
			map[string]string{"nats": "the worker reaches NATS through it"}},
		"by an address of IPv6": {Lifeline{Peers: map[string][]netip.AddrPort{"NATS": {peer("[fd00::4]:4222")}}},
			map[string]string{"six": "the worker reaches NATS through it"}},
		"by a published port, whatever the address": {Lifeline{Peers: map[string][]netip.AddrPort{"the Engine": {peer("192.0.2.7:2375")}}},
			map[string]string{"proxy": "the worker reaches the Engine through it"}},
		"by several ways, the first in order counts": {Lifeline{Peers: map[string][]netip.AddrPort{
			"the sink": {peer("127.0.0.1:8080")}, "NATS": {peer("127.0.0.1:8080"), peer("172.17.0.3:4222")}}},
			map[string]string{"proxy": "the worker reaches NATS through it", "nats": "the worker reaches NATS through it"}},
		"its own address": {Lifeline{Self: "self", Peers: map[string][]netip.AddrPort{"NATS": {peer("172.17.0.2:4222")}}},
			map[string]string{"self": "it is the worker's own container"}},
		"an address that is none": {Lifeline{Peers: map[string][]netip.AddrPort{"NATS": {{}}}}, map[string]string{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for range 10 { // the order of a map must not matter
				if got := Protected(containers, c.lifeline); !maps.Equal(got, c.want) {
					t.Fatalf("protected are %v, want %v", got, c.want)
				}
			}
		})
	}
}
