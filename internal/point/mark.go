package point

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/schemas"
)

// MarkVersion is the version of the marks that this package writes, and the highest
// that it reads.
const MarkVersion = 1

// MaxMark bounds the size of a mark, in bytes.
const MaxMark = 1 << 20

// MaxProblems and MaxMarkText bound what a mark says: the entries of a list, and the
// characters of a text.
const (
	MaxProblems = 50
	MaxMarkText = 1024
)

// Verified is the mark of a point that was verified: the last time, and what came of
// it.
type Verified struct {
	FormatVersion int `json:"formatVersion"` // set by Write
	// Time is when the verification ended.
	Time time.Time `json:"time"`
	// Level is how much was verified: quick, full or drill.
	Level string `json:"level"`
	// OK is whether the point passed.
	OK bool `json:"ok"`
	// FullTime and DrillTime are when it was last verified so thoroughly, if that was
	// before Time; zero for never.
	FullTime  time.Time `json:"fullTime,omitzero"`
	DrillTime time.Time `json:"drillTime,omitzero"`
	// Host and Job are of the worker that verified it.
	Host string `json:"host"`
	Job  string `json:"job"`
	// Problems are what is wrong with it: at most MaxProblems, and how many more there
	// are.
	Problems        []Problem `json:"problems,omitempty"`
	ProblemsOmitted int       `json:"problemsOmitted,omitempty"`
	// Holdfast is the version of the program that verified it.
	Holdfast string `json:"holdfast"`
}

// Problem is one thing that is wrong with a point.
type Problem struct {
	// Key is that of the object that is damaged or missing; empty where it is not one.
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
}

// Protected is the mark of a point that no prune may remove.
type Protected struct {
	FormatVersion int       `json:"formatVersion"` // set by Write
	By            string    `json:"by"`            // user@host
	Time          time.Time `json:"time"`
	Reason        string    `json:"reason"`
}

// Removed is the mark of a point that was pruned: it is hidden, and gone after a time.
type Removed struct {
	FormatVersion int       `json:"formatVersion"` // set by Write
	Time          time.Time `json:"time"`
	Host          string    `json:"host"`
	Job           string    `json:"job"`
	// Reason says why nothing keeps it.
	Reason string `json:"reason"`
	// GoneAfter is the time from which on its bytes may go.
	GoneAfter time.Time `json:"goneAfter"`
}

// Write puts the mark beside the point in the folder dir, in place of the one that is
// there. It reports [sink.ErrNotFound] if there is no such point.
func (v Verified) Write(ctx context.Context, to sink.Marker, dir string) error {
	v.FormatVersion = MarkVersion
	return writeMark(ctx, to, dir, sink.VerifiedName, v)
}

// Write is as that of [Verified].
func (p Protected) Write(ctx context.Context, to sink.Marker, dir string) error {
	p.FormatVersion = MarkVersion
	return writeMark(ctx, to, dir, sink.ProtectedName, p)
}

// Write is as that of [Verified].
func (r Removed) Write(ctx context.Context, to sink.Marker, dir string) error {
	r.FormatVersion = MarkVersion
	return writeMark(ctx, to, dir, sink.RemovedName, r)
}

// Marks are what lies beside a point. They are no part of it.
type Marks struct {
	Verified  *Verified  // nil if it was never verified
	Protected *Protected // nil if it is not protected
	Removed   *Removed   // nil if it was not removed
	// Unread are why marks that are there cannot be read, by their names in the sink.
	Unread map[string]error
}

// IsProtected reports whether the point must not be removed. It must not either if
// the mark cannot be read: nobody knows what it says, and bytes that went do not come
// back.
func (m Marks) IsProtected() bool {
	return m.Protected != nil || m.Unread[sink.ProtectedName] != nil
}

// IsRemoved reports whether the point was removed, and is hidden. A mark that cannot
// be read hides nothing.
func (m Marks) IsRemoved() bool { return m.Removed != nil }

// Failure says why the point failed its last verification, and what of it was good then:
// first what can still be saved. It is empty for a point that passed, or was never
// verified.
func (e Entry) Failure() string {
	v := e.Marks.Verified
	if v == nil || v.OK {
		return ""
	}
	bad, without := map[string]bool{}, false
	var why []string
	for _, p := range v.Problems {
		bad[p.Key] = true
		without = without || path.Base(p.Key) == sink.ManifestName
		if p.Key == "" {
			why = append(why, p.Message)
		} else {
			why = append(why, path.Base(p.Key)+": "+p.Message)
		}
	}
	text := fmt.Sprintf("the point failed its last verification (%s, %s)", v.Level, v.Time.UTC().Format(time.RFC3339))
	if e.Manifest != nil && !without && v.ProblemsOmitted == 0 {
		var good []string
		for _, a := range e.Manifest.Artifacts {
			if !bad[a.Key] {
				good = append(good, path.Base(a.Key))
			}
		}
		text += "; good was then " + cmp.Or(strings.Join(good, ", "), "nothing")
	}
	if v.ProblemsOmitted > 0 {
		why = append(why, fmt.Sprintf("and %d more", v.ProblemsOmitted))
	}
	return text + "; " + strings.Join(why, "; ")
}

// ReadMarks reads marks of the point in the folder dir: those of these names. One that
// is not there is left out, and one that cannot be read hides no other.
func ReadMarks(ctx context.Context, from sink.Reader, dir string, names ...string) (m Marks) {
	for _, name := range names {
		var err error
		switch name {
		case sink.VerifiedName:
			m.Verified, err = readMark[Verified](ctx, from, dir, name)
		case sink.ProtectedName:
			m.Protected, err = readMark[Protected](ctx, from, dir, name)
		case sink.RemovedName:
			m.Removed, err = readMark[Removed](ctx, from, dir, name)
		}
		if err != nil && !errors.Is(err, sink.ErrNotFound) {
			if m.Unread == nil {
				m.Unread = map[string]error{}
			}
			m.Unread[name] = err
		}
	}
	return m
}

// schemaOf returns the name of a mark's schema.
func schemaOf(name string) string { return name[:len(name)-len(path.Ext(name))] }

func writeMark(ctx context.Context, to sink.Marker, dir, name string, mark any) error {
	raw, err := json.Marshal(mark, form)
	if err != nil {
		return fmt.Errorf("encode %s of %s: %w", name, dir, err)
	}
	if err := schemas.Validate(schemaOf(name), raw); err != nil {
		return fmt.Errorf("%s of %s is not valid: %w", name, dir, err)
	}
	return to.PutMark(ctx, dir, name, append(raw, '\n'))
}

func readMark[T any](ctx context.Context, from sink.Reader, dir, name string) (*T, error) {
	f, err := from.Open(ctx, path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxMark+1))
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", name, dir, err)
	}
	mark, err := decodeMark[T](name, raw)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", name, dir, err)
	}
	return mark, nil
}

// decodeMark reports ErrNewer for a mark of a later version.
func decodeMark[T any](name string, raw []byte) (*T, error) {
	if len(raw) > MaxMark {
		return nil, fmt.Errorf("it is damaged: it has more than %d bytes", MaxMark)
	}
	if v := formatVersion(raw); v > MarkVersion {
		return nil, fmt.Errorf("it is of format %d, and this version of holdfast reads %d: %w; use that one", v, MarkVersion, ErrNewer)
	}
	if err := schemas.Validate(schemaOf(name), raw); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	var mark T
	if err := json.Unmarshal(raw, &mark); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return &mark, nil
}

// formatVersion returns what a stored document says of its format; 0 if it does not.
// It comes before everything else: a newer document need not look like ours.
func formatVersion(raw []byte) int {
	var head struct {
		FormatVersion int `json:"formatVersion"`
	}
	if json.Unmarshal(raw, &head) != nil {
		return 0
	}
	return head.FormatVersion
}
