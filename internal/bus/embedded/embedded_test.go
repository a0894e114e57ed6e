package embedded_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/embedded"
	"holdfast.io/holdfast/internal/bus/provision"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

func start(t *testing.T, dir string, log *zap.Logger) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), dir, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *embedded.Server) {
	t.Helper()
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
}

func provisioned(t *testing.T, s *embedded.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), s.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{"web01"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func request() event.Event {
	ev := event.New()
	ev.SetID("1")
	ev.SetSource("/test")
	ev.SetType(events.Backup.RequestType())
	return ev
}

func TestMessagesOutlastTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s := start(t, dir, zap.NewNop())
	b := provisioned(t, s)
	if _, err := b.PublishRequest(t.Context(), events.HostSubject(events.Backup, "web01"), request()); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	stop(t, s)

	b = provisioned(t, start(t, dir, zap.NewNop()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := consume.Work(b, "web01")[0].Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Done(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhoKnowsThePasswordOnThisMachine(t *testing.T) {
	o := start(t, t.TempDir(), zap.NewNop()).Options()
	host, _, err := net.SplitHostPort(strings.TrimPrefix(o.URL, "nats://"))
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("listens on %s", o.URL)
	}
	if strings.Contains(o.URL, o.Password) || len(o.Password) < 26 {
		t.Errorf("the URL is %s, the password has %d characters", o.URL, len(o.Password))
	}
	for name, o := range map[string]bus.Options{
		"nobody":         {URL: o.URL},
		"wrong password": {URL: o.URL, User: o.User, Password: o.Password + "x"},
		"wrong user":     {URL: o.URL, User: "root", Password: o.Password},
		"token":          {URL: o.URL, Token: o.Password},
	} {
		if b, err := bus.Connect(t.Context(), o); err == nil {
			t.Errorf("%s is admitted: %v", name, b.Close())
		}
	}
	if other := start(t, t.TempDir(), zap.NewNop()).Options(); other.Password == o.Password || other.URL == o.URL {
		t.Error("two servers share a password or a port")
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	b := provisioned(t, start(t, dir, zap.NewNop()))
	if _, err := b.PublishRequest(t.Context(), events.HostSubject(events.Backup, "web01"), request()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err != nil || d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What the server cannot do is an error, not the end of the process.
func TestStartFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inTheWay := t.TempDir()
	if err := os.WriteFile(filepath.Join(inTheWay, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file as folder": file, "a file for the store": inTheWay} {
		began := time.Now()
		s, err := embedded.Start(t.Context(), dir, zap.NewNop())
		if err == nil {
			stop(t, s)
			t.Errorf("%s: started", name)
			continue
		}
		t.Logf("%s: %v", name, err)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ended, t.TempDir(), zap.NewNop()); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestLogIsQuiet(t *testing.T) {
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	output, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	os.Stdout, os.Stderr = output, output

	core, logs := observer.New(zap.InfoLevel)
	s := start(t, t.TempDir(), zap.New(core))
	if err := provisioned(t, s).Close(); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	for _, l := range logs.All() {
		t.Errorf("logged: %+v", l)
	}
	if info, err := output.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("%d bytes were written past the log, %v", info.Size(), err)
	}

	debug, logs := observer.New(zap.DebugLevel)
	stop(t, start(t, t.TempDir(), zap.New(debug)))
	if logs.Len() == 0 {
		t.Error("nothing is logged at debug level")
	}
}
