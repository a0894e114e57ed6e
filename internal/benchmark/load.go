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
)

// loadOptions say what is measured under load, and with which numbers.
type loadOptions struct {
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
	// n is its number: of requests, of deaths, of seconds.
	n int
	// measure returns what it measured, also beside an error.
	measure func(l *lab, ctx context.Context, n int) ([]table, error)
}

var parts = []part{
	{"worker", 1000, (*lab).oneWorker},
	{"fleet", 5000, (*lab).fleet},
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
func (o loadOptions) check() error {
	known := o.part == allParts || slices.ContainsFunc(parts, func(p part) bool { return p.name == o.part })
	switch {
	case !known:
		return fmt.Errorf("there is no part %q; choose one of: %s", o.part, partNames())
	case o.n < 0 || o.hosts < 1:
		return errors.New("a number is too small")
	}
	return nil
}

// lab is where one part is measured: the programs, and a folder for all that they
// write.
type lab struct {
	loadOptions
	programs
	run      string // identifies the run
	holdfast string // the program
	nats     string // the message server's program
	ends     []func(ctx context.Context) error
}

// runLoad measures the parts that o names, and writes a report in Markdown.
func runLoad(ctx context.Context, o loadOptions, w io.Writer) error {
	var errs error
	for _, p := range parts {
		if o.part != allParts && o.part != p.name {
			continue
		}
		n := p.n
		if o.n > 0 {
			n = o.n
		}
		tables, err := measurePart(ctx, o, p, n)
		for _, t := range tables {
			_, werr := io.WriteString(w, markdown(t)+"\n")
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
func measurePart(ctx context.Context, o loadOptions, p part, n int) (tables []table, err error) {
	l := &lab{loadOptions: o, programs: newPrograms(), run: uuid.NewString()[:8]}
	defer func() {
		say("part %s: removing what was made", p.name)
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBound)
		defer cancel()
		err = errors.Join(err, l.close(bound))
	}()
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	say("part %s", p.name)
	return p.measure(l, ctx, n)
}

// open makes the folder and builds the programs.
func (l *lab) open(ctx context.Context) (err error) {
	if l.dir, err = os.MkdirTemp(l.dir, "holdfast-load-"); err != nil {
		return fmt.Errorf("%w; choose another folder with -dir", err)
	}
	l.atEnd(func(context.Context) error { return os.RemoveAll(l.dir) })
	say("building the programs")
	l.holdfast, l.nats = filepath.Join(l.dir, "holdfast"), filepath.Join(l.dir, "nats-server")
	if err := l.build(ctx, l.holdfast, "holdfast.io/holdfast/worker"); err != nil {
		return err
	}
	return l.build(ctx, l.nats, "github.com/nats-io/nats-server/v2")
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
func (l *lab) images(ctx context.Context) (*fixture, error) {
	f, err := newFixture(ctx, l.programs, l.run, l.dir)
	if f != nil {
		l.atEnd(f.remove)
	}
	return f, err
}

// workerOf returns the program as a worker of the host, with the folder for its
// state named.
func (l *lab) workerOf(s *servers, host, name string, slots int) (*holdfast, error) {
	h, err := newHoldfast(l.programs, l.holdfast, filepath.Join(l.dir, name))
	if err != nil {
		return nil, err
	}
	h.env = append(h.env, "HOLDFAST_NATS_URL="+s.url(), "HOLDFAST_NATS_USER="+serverUser, "HOLDFAST_NATS_PASSWORD="+serverPassword,
		"HOLDFAST_HOST_ID="+host, fmt.Sprintf("HOLDFAST_SLOTS=%d", slots))
	return h, nil
}
