//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/bench"
)

// options say what is measured under load, and with which numbers.
type options struct {
	// part is the name of a part, or allParts.
	part string
	// n is a part's own number; 0 means that of its definition.
	n int
	// hosts is how many hosts are simulated.
	hosts int
	dir   string
}

const allParts = "all"

// table is a table of the report, its first row the head.
type table = [][]string

// part is one part of the measurement under load.
type part struct {
	name string
	// n is its number: of requests, of containers, of deaths, of seconds.
	n int
	// measure returns what it measured, also beside an error.
	measure func(l *lab, ctx context.Context, n int) ([]table, error)
}

var parts = []part{
	{"worker", 1000, (*lab).oneWorker},
	{"fleet", 5000, (*lab).fleet},
	{"wide", 200, (*lab).wide},
	{"takeover", 10, (*lab).takeovers},
	{"idle", 60, (*lab).idleFleet},
}

func partNames() string {
	names := []string{allParts}
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// check reports what makes no sense.
func (o options) check() error {
	known := o.part == allParts || slices.ContainsFunc(parts, func(p part) bool { return p.name == o.part })
	switch {
	case !known:
		return fmt.Errorf("there is no part %q; choose one of: %s", o.part, partNames())
	case o.n < 0 || o.hosts < 1:
		return errors.New("a number is too small")
	}
	return nil
}

// builds are the programs that the parts share.
type builds struct {
	bench.Programs
	dir      string
	holdfast string // the path of the program
	nats     string // the path of the message server's
}

// build builds the programs in a new folder below dir. The caller calls remove,
// also after an error.
func build(ctx context.Context, dir string) (b *builds, err error) {
	b = &builds{Programs: bench.NewPrograms()}
	if b.dir, err = os.MkdirTemp(dir, "holdfast-load-"); err != nil {
		return b, fmt.Errorf("%w; choose another folder with -dir", err)
	}
	bench.Say("building the programs")
	b.holdfast, b.nats = filepath.Join(b.dir, "holdfast"), filepath.Join(b.dir, "nats-server")
	if err := b.Build(ctx, b.holdfast, "holdfast.io/holdfast/worker"); err != nil {
		return b, err
	}
	return b, b.Build(ctx, b.nats, "github.com/nats-io/nats-server/v2")
}

func (b *builds) remove() error { return os.RemoveAll(b.dir) }

// lab is where one part is measured, with a folder for all that is written.
type lab struct {
	options
	*builds
	dir  string
	run  string // identifies the run
	ends []func(ctx context.Context) error
}

// run measures the parts that o names, and writes a report in Markdown.
func run(ctx context.Context, o options, w io.Writer) (err error) {
	b, err := build(ctx, o.dir)
	defer func() { err = errors.Join(err, b.remove()) }()
	if err != nil {
		return err
	}
	return b.measure(ctx, o, w)
}

// measure measures the parts that o names with these programs.
func (b *builds) measure(ctx context.Context, o options, w io.Writer) error {
	var errs error
	for _, p := range parts {
		if o.part != allParts && o.part != p.name {
			continue
		}
		n := p.n
		if o.n > 0 {
			n = o.n
		}
		tables, err := b.measurePart(ctx, o, p, n)
		for _, t := range tables {
			_, werr := io.WriteString(w, bench.Markdown(t)+"\n")
			err = errors.Join(err, werr)
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("part %s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// measurePart measures one part in a lab of its own, which is gone at the end.
func (b *builds) measurePart(ctx context.Context, o options, p part, n int) (tables []table, err error) {
	l := &lab{options: o, builds: b, run: uuid.NewString()[:8]}
	defer func() {
		bench.Say("part %s: removing what was made", p.name)
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), bench.RemoveBound)
		defer cancel()
		err = errors.Join(err, l.close(bound))
	}()
	if l.dir, err = os.MkdirTemp(o.dir, "holdfast-load-"); err != nil {
		return nil, err
	}
	l.atEnd(func(context.Context) error { return os.RemoveAll(l.dir) })
	bench.Say("part %s", p.name)
	return p.measure(l, ctx, n)
}

// atEnd has something done when the part is over, the last first.
func (l *lab) atEnd(do func(ctx context.Context) error) { l.ends = append(l.ends, do) }

func (l *lab) close(ctx context.Context) error {
	var errs error
	for _, do := range slices.Backward(l.ends) {
		errs = errors.Join(errs, do(ctx))
	}
	return errs
}

// images returns what makes images and containers; they are removed at the end.
func (l *lab) images(ctx context.Context) (*bench.Fixture, error) {
	f, err := bench.NewFixture(ctx, l.Programs, l.run, l.dir)
	if f != nil {
		l.atEnd(f.Remove)
	}
	return f, err
}

// workerOf returns the program as a worker of the host, with the folder for its
// state named.
func (l *lab) workerOf(s *servers, host, name string, slots int) (*bench.Holdfast, error) {
	h, err := bench.NewHoldfast(l.Programs, l.holdfast, filepath.Join(l.dir, name))
	if err != nil {
		return nil, err
	}
	h.Env = append(h.Env, "HOLDFAST_NATS_URL="+s.url(), "HOLDFAST_NATS_USER="+serverUser, "HOLDFAST_NATS_PASSWORD="+serverPassword,
		"HOLDFAST_HOST_ID="+host, fmt.Sprintf("HOLDFAST_SLOTS=%d", slots))
	return h, nil
}
