package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/demo"
	"holdfast.io/holdfast/internal/demo/sample"
	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/seal"
)

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a backup from beginning to end, and remove all that it made",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			if cfg.NATS.URL != "" {
				return usage("the demo uses a message server of its own; leave --nats out")
			}
			dir, err := os.MkdirTemp("", "holdfast-demo-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			cfg.StateDir = filepath.Join(dir, "state")
			cfg.Sink, cfg.Sinks = "", nil
			cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause}
			d := &demonstration{out: cmd.OutOrStdout(), dir: dir}
			ctx := cmd.Context()
			n, err := node.Start(ctx, nodeOptions(inProcess(cfg), log))
			if err != nil {
				return err
			}
			defer n.Close()
			err = d.run(ctx, n)
			if errors.Is(err, context.Canceled) {
				return &exitError{status: exitCancelled, cause: errors.New("interrupted; all that the demo made is removed")}
			}
			return err
		},
	}
	writer := &cobra.Command{
		Use:    demo.WriterCommand,
		Hidden: true,
		RunE:   func(*cobra.Command, []string) error { return sample.Write() },
	}
	cmd.AddCommand(writer)
	return cmd
}

// demonstration tells what happens as it happens.
type demonstration struct {
	out   io.Writer
	dir   string
	steps int
}

func (d *demonstration) step(format string, args ...any) {
	d.steps++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.steps, fmt.Sprintf(format, args...))
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, "   %s\n", present.Escape(fmt.Sprintf(format, args...)))
}

func (d *demonstration) run(ctx context.Context, n *node.Node) (err error) {
	d.step("A container that keeps writing")
	s, err := demo.Start(ctx, n.Engine, d.dir)
	defer func() {
		if rerr := s.Remove(ctx); rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove what the demo made: %w", rerr))
		}
	}()
	if err != nil {
		return err
	}
	d.say("%s runs on host %s; it appends a line to %s every %s", s.Name, n.Host, sample.Path, sample.Interval)

	ended, err := d.backup(ctx, n, s)
	if err != nil {
		return err
	}
	d.step("What lies in the sink")
	if err := d.tree(n.Sinks.Location(events.DefaultSink)); err != nil {
		return err
	}
	return d.prove(ctx, n, s, ended)
}

// backup has the container backed up as an outside publisher would, and shows
// the events as they come.
func (d *demonstration) backup(ctx context.Context, n *node.Node, s *demo.Sample) (stored *events.BackupItemCompleted, err error) {
	work, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	var failure error
	running.Go(func() { failure = n.Run(work) })
	defer func() {
		stop()
		running.Wait()
		err = errors.Join(err, failure)
	}()

	d.step("A CloudEvent asks for a backup of it")
	request := &events.BackupRequest{Containers: &events.ContainerSelector{Names: []string{s.Name}}}
	raw, _ := json.Marshal(request)
	d.say("subject  %s", events.HostSubject(events.Backup, n.Host))
	d.say("type     %s", events.Backup.RequestType())
	d.say("data     %s", raw)
	job, err := asker(n.Bus).Request(ctx, events.Backup, n.Host, request)
	if err != nil {
		return nil, err
	}
	defer job.Close()

	d.step("The events of job %s as they come", job.ID)
	began := time.Now()
	for {
		ev, err := job.Next(ctx)
		if err != nil {
			return nil, err
		}
		d.say("%8s  %s", time.Since(began).Round(time.Millisecond), describe(ev))
		if ev.Type() == events.Backup.ResultType(events.ResultItemCompleted) {
			stored = &events.BackupItemCompleted{}
			if err := ev.DataAs(stored); err != nil {
				return nil, err
			}
		}
		if events.Terminal(ev.Type()) {
			if stored == nil {
				return nil, fmt.Errorf("the backup did not succeed: %s", ev.Data())
			}
			return stored, nil
		}
	}
}

// describe says in one line what an event reports.
func describe(ev event.Event) string {
	line := events.Short(ev.Type()) + "  " + ev.Subject()
	switch events.ResultOf(ev.Type()) {
	case events.ResultItemCompleted:
		var data events.BackupItemCompleted
		if ev.DataAs(&data) == nil {
			line += fmt.Sprintf("  point %s, paused for %s", data.Point, present.Millis(data.NotRunningMillis))
		}
	case events.ResultItemFailed:
		var data events.ItemFailed
		if ev.DataAs(&data) == nil {
			line += fmt.Sprintf("  %s: %s", data.Code, data.Message)
		}
	case events.ResultCompleted, events.ResultFailed:
		var data events.Ended
		if ev.DataAs(&data) == nil {
			line += fmt.Sprintf("  %s, %s stored", data.Status, present.Bytes(data.Bytes))
		}
	default: // its type says all
	}
	return line
}

// tree lists the files of the sink.
func (d *demonstration) tree(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		d.say("%9s  %s", present.Bytes(info.Size()), rel)
		return nil
	})
}

func (d *demonstration) prove(ctx context.Context, n *node.Node, s *demo.Sample, completed *events.BackupItemCompleted) error {
	d.step("The archive is loaded back and compared with the container")
	from, err := n.Sinks.Open(ctx, completed.Sink)
	if err != nil {
		return err
	}
	m, err := point.Read(ctx, from, completed.Path)
	if err != nil {
		return err
	}
	archive, err := image.Source{Manifest: m, Open: from.Open, Seal: seal.Of(from)}.Archive(ctx, "")
	if err != nil {
		return err
	}
	defer archive.Close()
	p, err := s.Prove(ctx, archive, m.SnapshotTime)
	if err != nil {
		return err
	}
	const clock = "15:04:05.000"
	d.say("snapshot taken at     %s", m.SnapshotTime.Local().Format(clock))
	d.say("lines in the archive  %d, the last one written at %s", p.Archived, p.Last.Format(clock))
	d.say("lines by now          %d, the next one written at %s", p.Written, p.Next.Format(clock))
	d.step("Proven: what was written before the snapshot is in it, and nothing that came later")
	d.say("all that the demo made is removed now")
	return nil
}

var _ demo.Engine = (*docker.Engine)(nil)
