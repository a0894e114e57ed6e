package point_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// BenchmarkList lists a sink of 10,000 points in a folder: 5 hosts, 20 containers each,
// 100 points of each; the manifests are as a backup writes them. One in ten was
// verified.
//
//	go test -run '^$' -bench List ./internal/point
func BenchmarkList(b *testing.B) {
	const points = 10_000
	dir := b.TempDir()
	s, err := file.Open(b.Context(), dir, "", file.Options{})
	if err != nil {
		b.Fatal(err)
	}
	m, err := point.Decode(example(b))
	if err != nil {
		b.Fatal(err)
	}
	for i := range points {
		fill(b, dir, *m, i)
	}
	for b.Loop() {
		found := 0
		for e, err := range point.List(b.Context(), s, sink.PointsName) {
			if err != nil || e.Err != nil || len(e.Marks.Unread) > 0 {
				b.Fatal(err, e.Err, e.Marks.Unread)
			}
			found++
		}
		if found != points {
			b.Fatalf("%d points are listed", found)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/points, "µs/point")
}

// fill writes one of many points into the folder of a sink, without syncing it.
func fill(b *testing.B, sinkDir string, m point.Manifest, i int) {
	b.Helper()
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Hour)
	m.ID = fmt.Sprintf("%s-%08x", at.Format("20060102T150405Z"), i)
	m.Host, m.SnapshotTime, m.StoredTime = fmt.Sprint("web0", i%5), at.Add(1234*time.Millisecond), at.Add(7891*time.Millisecond)
	m.Item.Name = fmt.Sprint("web-", i/5%20)
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	m.Artifacts = append([]events.Artifact(nil), m.Artifacts...)
	for k := range m.Artifacts {
		m.Artifacts[k].Key = dir + "/" + filepath.Base(m.Artifacts[k].Key)
	}
	raw, err := m.Encode()
	if err == nil {
		err = os.MkdirAll(filepath.Join(sinkDir, dir), 0o700)
	}
	objects := map[string][]byte{sink.ManifestName: raw, point.ContainerConfig: []byte("{}"), point.ImageArchive: []byte("image")}
	if i%10 == 0 {
		objects[sink.VerifiedName] = []byte(`{"formatVersion": 1, "time": "2026-03-03T03:00:12.5Z", "level": "full", "ok": true,
			"host": "web01", "job": "ptg32uecxwng6yf7", "holdfast": "1.0.0"}`)
	}
	for name, content := range objects {
		if err == nil {
			err = os.WriteFile(filepath.Join(sinkDir, dir, name), content, 0o600)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}
