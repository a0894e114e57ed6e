package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// composed returns labels as compose leaves them, from "project/service" and what
// it depends on.
func composed(name, dependsOn string) map[string]string {
	project, service, _ := strings.Cut(name, "/")
	return map[string]string{labelComposeProject: project, labelComposeService: service, labelComposeDependsOn: dependsOn}
}

func TestStopOrder(t *testing.T) {
	type c = map[string]string
	cases := map[string]struct {
		containers []c
		want       []int
	}{
		"nothing":           {nil, []int{}},
		"without labels":    {[]c{nil, {}, nil}, []int{0, 1, 2}},
		"in order already":  {[]c{composed("p/web", "db:service_healthy:true"), composed("p/db", "")}, []int{0, 1}},
		"the other way":     {[]c{composed("p/db", ""), composed("p/web", "db:service_healthy:true")}, []int{1, 0}},
		"as it was written": {[]c{composed("p/db", ""), composed("p/cache", ""), composed("p/web", "db,cache")}, []int{2, 0, 1}},
		"a chain": {[]c{composed("p/a", ""), composed("p/b", "a:service_started:false"),
			composed("p/c", "b:service_started:false")}, []int{2, 1, 0}},
		"replicas": {[]c{composed("p/db", ""), composed("p/db", ""), composed("p/web", "db"), composed("p/web", "db")},
			[]int{2, 3, 0, 1}},
		"another project":    {[]c{composed("p/db", ""), composed("q/web", "db")}, []int{0, 1}},
		"no project":         {[]c{{labelComposeService: "db"}, {labelComposeService: "web", labelComposeDependsOn: "db"}}, []int{0, 1}},
		"an unknown service": {[]c{composed("p/db", ""), composed("p/web", "nosuch,db")}, []int{1, 0}},
		"itself":             {[]c{composed("p/db", "db"), composed("p/web", "")}, []int{0, 1}},
		"a circle, what depends on it, and what it depends on": {
			[]c{composed("p/base", ""), composed("p/a", "b"), composed("p/b", "a,base"), composed("p/top", "a")}, []int{3, 1, 2, 0}},
		"unrelated ones stay": {[]c{nil, composed("p/web", "db"), nil, composed("p/db", ""), nil}, []int{0, 1, 2, 3, 4}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := stopOrder(c.containers, nil); !slices.Equal(got, c.want) {
				t.Errorf("the order is %v, want %v", got, c.want)
			}
		})
	}
}

// Among services that depend on each other at random, but in no circle, each is
// stopped once, and before all that it depends on.
func TestStopOrderOfManyServices(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + random.IntN(30)
		place := random.Perm(n) // where service i stands in the list
		labels := make([]map[string]string, n)
		dependsOn := make([][]int, n)
		for i := range n {
			var on []string
			for j := range i {
				if random.IntN(4) == 0 {
					dependsOn[i] = append(dependsOn[i], j)
					on = append(on, fmt.Sprintf("s%d:service_started:false", j))
				}
			}
			labels[place[i]] = composed(fmt.Sprintf("p/s%d", i), strings.Join(on, ","))
		}
		order := stopOrder(labels, nil)
		if sorted := slices.Sorted(slices.Values(order)); len(order) != n || sorted[0] != 0 || len(slices.Compact(sorted)) != n {
			t.Fatalf("the order of %d containers is %v", n, order)
		}
		for i := range n {
			for _, j := range dependsOn[i] {
				if slices.Index(order, place[i]) > slices.Index(order, place[j]) {
					t.Fatalf("s%d is stopped after s%d, which it depends on: %v of %v", i, j, order, labels)
				}
			}
		}
	}
}

func TestParseDependsOn(t *testing.T) {
	const spaced = " db , cache:x ,, :y,"
	for label, want := range map[string][]string{
		"":                        nil,
		"db":                      {"db"},
		"db,cache":                {"db", "cache"},
		"db:service_healthy:true": {"db"},
		"db:service_healthy:true,cache:service_started:false": {"db", "cache"},
		spaced: {"db", "cache"},
	} {
		if got := parseDependsOn(label); !slices.Equal(got, want) {
			t.Errorf("of %q come %q, want %q", label, got, want)
		}
	}
}

func FuzzStopOrder(f *testing.F) {
	f.Add("db:service_healthy:true,cache", "web", "a")
	f.Add("a,b,c", "a,b,c", ",:,")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, name := range parseDependsOn(a) {
			if name == "" || strings.ContainsAny(name, ",:") {
				t.Errorf("of %q comes the service %q", a, name)
			}
		}
		order := stopOrder([]map[string]string{composed("p/a", a), composed("p/"+a, b), composed("p/b", c), composed("p/c", b)}, nil)
		if !slices.Equal(slices.Sorted(slices.Values(order)), []int{0, 1, 2, 3}) {
			t.Errorf("the order is %v", order)
		}
	})
}
