package point_test

import (
	"context"
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// shows is a point that a test stores, and the hour that it shows.
type shows struct {
	dir  string
	hour int
}

var stored = []shows{
	{"points/web01/container/web-1/20260302T080000Z-00000001", 8},
	{"points/web01/container/web-1/20260302T090000Z-00000002", 12}, // it waited long
	{"points/web01/container/web-1/20260302T100000Z-00000003", 10},
	{"points/web02/container/web-1/20260302T110000Z-00000004", 11},
	{"points/web01/container/web-2/20260302T080000Z-00000005", 8},
	{"points/web02/image/app%3Alatest/20260302T080000Z-00000006", 8},
	{"points/web02/container/app/20260302T080000Z-00000007", 8},
	{"points/web01/container/20260302/20260303T080000Z-00000008", 8},
	{"points/web01/container/gone/20260302T080000Z-00000009", 8},
	{"points/web01/container/torn/20260302T080000Z-0000000a", 8},
}

func hour(h int) time.Time { return time.Date(2026, 3, 2, h, 0, 0, 0, time.UTC) }

func stock(t *testing.T) *sinktest.Memory {
	t.Helper()
	s := sinktest.NewMemory()
	for i, p := range stored {
		raw := manifestAt(t, p.dir, func(m *point.Manifest) {
			m.SnapshotTime = hour(p.hour)
			m.Item.Name = strings.Replace(m.Item.Name, "%3A", ":", 1)
			m.Item.ID = strings.Repeat(string(rune('a'+i%6)), 62) + "00"
			if m.Item.Kind == events.ItemImage {
				m.Item.ID = "sha256:" + m.Item.ID
			}
		})
		switch path.Base(path.Dir(p.dir)) {
		case "torn":
			raw = raw[:len(raw)/2]
			publish(t, s, p.dir, raw)
		case "gone":
			publish(t, s, p.dir, raw)
			if err := removed.Write(t.Context(), s, p.dir); err != nil {
				t.Fatal(err)
			}
		default:
			publish(t, s, p.dir, raw)
		}
	}
	return s
}

func TestFind(t *testing.T) {
	s := stock(t)
	for _, test := range []struct {
		text string
		q    point.Query
		want int // hex digit that the point's id ends with
		err  error
		says string
	}{
		{"20260302T080000Z-00000001", point.Query{}, 1, nil, ""},
		{"20260302T09", point.Query{}, 2, nil, ""},
		{"20260302T080000Z", point.Query{}, 0, point.ErrAmbiguous, "6 begin so: 20260302T080000Z-00000001, "},
		{"20270302T080000Z-00000001", point.Query{}, 0, point.ErrNoPoint, `"20270302T080000Z-00000001"`},
		{"20260302", point.Query{}, 8, nil, ""}, // a container's name comes before the beginning of an id
		{"2026030", point.Query{}, 0, point.ErrAmbiguous, "10 begin so"},
		{"web-1", point.Query{Host: "web01"}, 2, nil, ""},
		{"web-1@latest", point.Query{Host: "web01"}, 2, nil, ""},
		{"web-1@2026-03-02T11:59:59Z", point.Query{Host: "web01"}, 3, nil, ""},
		{"web-1@2026-03-02T12:00:00Z", point.Query{Host: "web01"}, 2, nil, ""},
		{"web-1@2026-03-02T10:30:00+01:00", point.Query{Host: "web01"}, 1, nil, ""},
		{"web-1@2026-03-02T07:00:00Z", point.Query{Host: "web01"}, 0, point.ErrNoPoint, "the oldest shows 2026-03-02T08:00:00Z"},
		{"web-1@yesterday", point.Query{}, 0, nil, `after "@" there must be "latest" or a time`},
		{"web-1", point.Query{}, 0, point.ErrAmbiguous, "container web-1 on host web01, container web-1 on host web02; say which"},
		{"web-1", point.Query{Host: "web02"}, 4, nil, ""},
		{"web-1", point.Query{Host: "web03"}, 0, point.ErrNoPoint, "on host web03"},
		{"web-1", point.Query{Kind: events.ItemImage}, 0, point.ErrNoPoint, `image "web-1"`},
		{"web", point.Query{}, 0, point.ErrNoPoint, "there are points of web-1, web-2"},
		{"nothing", point.Query{}, 0, point.ErrNoPoint, `a point of "nothing"`},
		{"", point.Query{}, 0, point.ErrNoPoint, ""},
		{"app:latest", point.Query{}, 6, nil, ""},
		{"app", point.Query{}, 0, point.ErrAmbiguous, "container app on host web02, image app:latest on host web02"},
		{"app", point.Query{Kind: events.ItemImage, Host: "web02"}, 6, nil, ""},
		{strings.Repeat("e", 12), point.Query{}, 5, nil, ""},
		{strings.Repeat("e", 11), point.Query{}, 0, point.ErrNoPoint, ""},
		{"sha256:" + strings.Repeat("f", 62) + "00", point.Query{}, 6, nil, ""},
		{strings.Repeat("f", 12), point.Query{}, 6, nil, ""},
		{"gone", point.Query{}, 0, point.ErrNoPoint, "all were removed; 'holdfast list --removed'"},
		{"20260302T080000Z-00000009", point.Query{}, 9, nil, ""}, // an id finds what was removed
		{"torn", point.Query{}, 0, point.ErrNoPoint, "that can be read: the manifest is damaged"},
		{"20260302T080000Z-0000000a", point.Query{}, 10, nil, ""},
	} {
		got, err := point.Find(t.Context(), s, test.text, test.q)
		if test.want != 0 {
			if err != nil || !strings.HasSuffix(got.Dir, "-"+strings.Repeat("0", 7)+string("0123456789a"[test.want])) {
				t.Errorf("%q %+v finds %s, %v; want %x", test.text, test.q, got.Dir, err, test.want)
			}
			continue
		}
		if err == nil || test.err != nil && !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q %+v: %v, want %q that says %q", test.text, test.q, err, test.err, test.says)
		}
	}
}

// The point before another one is that of the same thing with the greatest id below, whatever
// moments they show, and no removed one.
func TestPrevious(t *testing.T) {
	s := stock(t)
	for dir, want := range map[string]string{
		"points/web01/container/web-1/20260302T100000Z-00000003": "20260302T090000Z-00000002",
		"points/web01/container/web-1/20260302T100000Z-00000004": "20260302T100000Z-00000003", // it need not be there
		"points/web01/container/web-1/20260302T080000Z-00000001": "",
		"points/web01/container/gone/20260303T080000Z-00000001":  "",
		"points/web03/container/web-1/20260303T080000Z-00000001": "",
	} {
		m, err := point.Previous(t.Context(), s, dir)
		got := ""
		if m != nil {
			got = m.ID
		}
		if err != nil || got != want {
			t.Errorf("before %s is %q, %v; want %q", dir, got, err, want)
		}
	}
	if _, err := point.Previous(t.Context(), s, "points/web01/container/torn/20260303T080000Z-00000001"); !errors.Is(err, point.ErrDamaged) {
		t.Errorf("before that is one that cannot be read: %v", err)
	}
}

// A point of the thing that cannot be read may be the newest: it is not passed over in
// silence, and one of another thing is none of this.
func TestFindSaysWhatCannotBeRead(t *testing.T) {
	s := stock(t)
	torn := "points/web01/container/web-2/20260302T090000Z-00000010"
	publish(t, s, torn, []byte("{"))
	n, err := point.FindNewest(t.Context(), s, point.Query{Name: "web-2"})
	if err != nil || n.ID() != "20260302T080000Z-00000005" || len(n.Unread) != 1 || n.Unread[0].Dir != torn {
		t.Errorf("found %s and %v that cannot be read, %v", n.Dir, n.Unread, err)
	}
	e, err := point.FindByID(t.Context(), s, "20260302T090000Z-00000010")
	if err != nil || !errors.Is(e.Err, point.ErrDamaged) {
		t.Errorf("by its id: %v, %v", e.Err, err)
	}
}

func TestFindInASinkThatIsAway(t *testing.T) {
	s := stock(t)
	s.Vanish()
	for _, text := range []string{"web-1", "20260302T080000Z-00000001", "2026"} {
		if _, err := point.Find(t.Context(), s, text, point.Query{}); !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("%s: %v", text, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := point.Find(ctx, stock(t), "web-1", point.Query{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
