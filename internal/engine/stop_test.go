package engine_test

import (
	"testing"

	"holdfast.io/holdfast/internal/engine"
)

func TestStopWouldRemove(t *testing.T) {
	cases := map[string]struct {
		container engine.ContainerDetail
		want      bool
	}{
		"plain":             {engine.ContainerDetail{Labels: map[string]string{"com.docker.compose.project": "p"}}, false},
		"removed by itself": {engine.ContainerDetail{AutoRemove: true}, true},
		"a swarm task":      {engine.ContainerDetail{Labels: map[string]string{"com.docker.swarm.task.id": "x"}}, true},
	}
	for name, c := range cases {
		if why := engine.StopWouldRemove(&c.container); (why != "") != c.want {
			t.Errorf("%s: %q, want a reason: %v", name, why, c.want)
		}
	}
}
