package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Restoration is what the restore of a point makes and changes on an Engine. Until the
// ledger has that the point is restored all of it is undone: the new containers go,
// volumes that were filled are emptied while nothing uses them, the containers that they
// were to replace are as they were, and then what was made for the new ones goes.
type Restoration struct {
	// Swap is the container that is restored.
	Swap
	// Dependants are those that use namespaces of the one that is replaced, in the order
	// in which they are started.
	Dependants []Swap `json:"dependants,omitempty"`
	// Image is the reference of the image that is loaded; empty if it was there before.
	Image string `json:"image,omitempty"`
	// Volumes are those that are made, Networks the same.
	Volumes  []string      `json:"volumes,omitempty"`
	Networks []MadeNetwork `json:"networks,omitempty"`
	// Filled are volumes that were there, empty, and are filled.
	Filled []Filled `json:"filled,omitempty"`
	// Overwritten are volumes whose content is replaced.
	Overwritten []Overwritten `json:"overwritten,omitempty"`
}

// Swap is a container that is made, and the one in whose place it comes.
type Swap struct {
	// Temporary is the name that the new container is created by; empty for none. ID is
	// its full id once it is known, and from then on that alone counts.
	Temporary string `json:"temporary,omitempty"`
	ID        string `json:"id,omitempty"`
	// Replaced is the container in whose place the new one comes; nil for none.
	Replaced *Replaced `json:"replaced,omitempty"`
	// Stopping is set before that one is told to stop.
	Stopping bool `json:"stopping,omitempty"`
}

// Replaced is a container that is stopped and renamed for another one.
type Replaced struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// State is the state that it was in, and StartedAt when it had been started: one that
	// was started since does not stop any more because of the restore.
	State     events.State `json:"state"`
	StartedAt time.Time    `json:"startedAt,omitzero"`
	// RestartPolicy and MaximumRetries are its restart policy.
	RestartPolicy  string `json:"restartPolicy"`
	MaximumRetries int    `json:"maximumRetries,omitempty"`
}

// Policy is the container's restart policy.
func (r *Replaced) Policy() engine.RestartPolicy {
	return engine.RestartPolicy{Name: r.RestartPolicy, MaximumRetries: r.MaximumRetries}
}

// MadeNetwork is a network that is made.
type MadeNetwork struct {
	Name string `json:"name"`
	// ID is its id once it is known.
	ID string `json:"id,omitempty"`
}

// Filled is a volume that was empty, and is to be so again.
type Filled struct {
	Volume string `json:"volume"`
	// Helper is the name of the helper that empties it.
	Helper string `json:"helper"`
}

// Overwritten is a volume that held something, which is to be in it again.
type Overwritten struct {
	Volume string `json:"volume"`
	// Sink is the configured name of the sink, and Dir the folder in it, of the point
	// that has what it held.
	Sink string `json:"sink"`
	Dir  string `json:"dir"`
	// Cleaner and Filler are the names of the helpers that empty and fill it.
	Cleaner string `json:"cleaner"`
	Filler  string `json:"filler"`
}

// ReplacedContainer is a container in whose place another one has come for good.
type ReplacedContainer struct {
	ID string `json:"id"`
}

// swaps are all containers that are made, in the order in which they are started.
func (r *Restoration) swaps() []Swap { return slices.Concat([]Swap{r.Swap}, r.Dependants) }

// ContainerMade says which id the container has that was created by a temporary name.
func (r *Restoration) ContainerMade(temporary, id string) {
	if r.Temporary == temporary {
		r.ID = id
	}
	for i := range r.Dependants {
		if r.Dependants[i].Temporary == temporary {
			r.Dependants[i].ID = id
		}
	}
}

// NetworkMade says which id a network has that was made.
func (r *Restoration) NetworkMade(name, id string) {
	for i := range r.Networks {
		if r.Networks[i].Name == name {
			r.Networks[i].ID = id
		}
	}
}

// DropNetwork and DropVolume say that it is not the restore's own.
func (r *Restoration) DropNetwork(name string) {
	r.Networks = slices.DeleteFunc(r.Networks, func(n MadeNetwork) bool { return n.Name == name })
}

func (r *Restoration) DropVolume(name string) {
	r.Volumes = slices.DeleteFunc(r.Volumes, func(v string) bool { return v == name })
}

// Volumes undoes what was done to the content of volumes.
type Volumes interface {
	// ClearVolume removes all that is in a volume, by a helper of this name. It reports
	// engine.ErrNotFound if the volume is not there.
	ClearVolume(ctx context.Context, helper, volume string) error
	// RefillVolume has a volume hold again what it held, and nothing else. It takes as
	// long as there is much in it. It reports engine.ErrNotFound as ClearVolume does.
	RefillVolume(ctx context.Context, o Overwritten) error
}

// IsRestoration reports whether the action undoes a restore, IsReplaced whether it
// removes what was replaced.
func IsRestoration(a Action) bool { return a.Restoration != nil }
func IsReplaced(a Action) bool    { return a.RemoveReplaced != nil }

// Restoring changes what the record says of a restore.
func (r *Record) Restoring(change func(*Restoration)) {
	for _, a := range r.Actions {
		if a.Restoration != nil {
			change(a.Restoration)
		}
	}
}

func (r *Restoration) clone() *Restoration {
	c := *r
	c.Volumes, c.Networks, c.Filled = slices.Clone(r.Volumes), slices.Clone(r.Networks), slices.Clone(r.Filled)
	c.Overwritten, c.Dependants = slices.Clone(r.Overwritten), slices.Clone(r.Dependants)
	return &c
}

func (r *Restoration) resources() (all []Resource) {
	for _, s := range r.swaps() {
		if s.Replaced != nil {
			all = append(all, Container(s.Replaced.ID))
		}
	}
	if r.Image != "" {
		all = append(all, ImageReference(r.Image))
	}
	for _, name := range r.Volumes {
		all = append(all, VolumeName(name))
	}
	for _, f := range r.Filled {
		all = append(all, VolumeName(f.Volume))
	}
	for _, o := range r.Overwritten {
		all = append(all, VolumeName(o.Volume))
	}
	return all
}

// undoRestoration undoes a restore, and reports whether nothing is left of it and
// nothing can come. It does nothing while the attempt still runs.
func (p *pass) undoRestoration(ctx context.Context, r *Restoration) (done bool, err error) {
	if !p.attemptEnded() {
		return false, nil
	}
	bounded, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	gone, err := p.removeRestored(bounded, r)
	switch {
	case err != nil:
		return false, err
	case !gone: // what comes late is not started: those that stand need not wait for it
		_, err = p.putBack(bounded, r)
		return false, err
	}
	if err := p.undoContents(ctx, r); err != nil {
		return false, err
	}
	bounded, cancel = context.WithTimeout(ctx, callBound)
	defer cancel()
	if back, err := p.putBack(bounded, r); err != nil || !back {
		return false, err
	}
	for _, undo := range []func(context.Context, *Restoration) error{p.removeVolumes, p.removeNetworks, p.untagRestored} {
		if err := undo(bounded, r); err != nil {
			return false, err
		}
	}
	return true, nil
}

// undoContents has volumes hold what they held. The container that was to be replaced is
// put back after that: once it has its name again, what is in its volumes is its own, and
// so is what is in a volume that somebody else has begun to use.
func (p *pass) undoContents(ctx context.Context, r *Restoration) error {
	if len(r.Filled)+len(r.Overwritten) == 0 {
		return nil
	}
	if back, err := p.isBack(ctx, r.Replaced); back || err != nil {
		return err
	}
	for _, f := range r.Filled {
		err := p.undoContent(ctx, f.Volume, func() error { return p.sweeper.Volumes.ClearVolume(ctx, f.Helper, f.Volume) })
		if err != nil {
			return fmt.Errorf("empty volume %s again: %w", f.Volume, err)
		}
	}
	for _, o := range r.Overwritten {
		err := p.undoContent(ctx, o.Volume, func() error { return p.sweeper.Volumes.RefillVolume(ctx, o) })
		if err != nil {
			return fmt.Errorf("put back what volume %s held (%s in sink %s): %w", o.Volume, o.Dir, o.Sink, err)
		}
	}
	return nil
}

// isBack reports whether the container that was to be replaced has its name. It gives
// that up before anything is done to its volumes, and gets it back after that is undone.
func (p *pass) isBack(ctx context.Context, r *Replaced) (bool, error) {
	if r == nil {
		return false, nil
	}
	c, err := p.engine.Inspect(ctx, r.ID)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil && c.Name == r.Name, err
}

// undoContent undoes what was done to the content of a volume, unless the volume is gone
// or somebody uses it by now.
func (p *pass) undoContent(ctx context.Context, volume string, undo func() error) error {
	all, err := p.engine.Containers(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Uses(volume) {
			p.log.Error("what a restore did to a volume is not undone: somebody uses it",
				zap.String("volume", volume), zap.String("container", c.Name))
			return nil
		}
	}
	if err := undo(); !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	return nil
}

// removeRestored removes the new containers, the last one first, and reports whether they
// are gone and cannot come any more.
func (p *pass) removeRestored(ctx context.Context, r *Restoration) (gone bool, err error) {
	gone = true
	for _, s := range slices.Backward(r.swaps()) {
		one, err := p.removeMade(ctx, s)
		if err != nil {
			return false, err
		}
		gone = gone && one
	}
	return gone, nil
}

// removeMade removes a new container, and reports whether it is gone and cannot come any
// more: an Engine goes on to make one whose client has gone.
func (p *pass) removeMade(ctx context.Context, s Swap) (gone bool, err error) {
	if s.Temporary == "" {
		return true, nil
	}
	id, told := s.ID, p.told() // before looking
	if id == "" {
		all, err := p.engine.Containers(ctx)
		if err != nil {
			return false, err
		}
		for _, c := range all {
			if c.Name == s.Temporary {
				id = c.ID
			}
		}
	}
	p.answered(true)
	if id == "" {
		return told || p.orphanedFor(settleBound), nil
	}
	if err := p.engine.RemoveContainer(ctx, id); err != nil {
		return false, fmt.Errorf("remove the container that was to be restored (%s): %w", id, err)
	}
	return true, nil
}

// told reports whether the Engine has done all that the attempt told it.
func (p *pass) told() bool { return p.ended != nil && !p.pending() }

// putBack makes the containers that were to be replaced what they were, each after those
// that it needs, and reports whether they stay so.
func (p *pass) putBack(ctx context.Context, r *Restoration) (back bool, err error) {
	for _, s := range r.swaps() {
		if s.Replaced == nil {
			continue
		}
		if back, err := p.putBackOne(ctx, s); err != nil || !back {
			return false, err
		}
	}
	return true, nil
}

func (p *pass) putBackOne(ctx context.Context, s Swap) (back bool, err error) {
	r := s.Replaced
	c, err := p.engine.Inspect(ctx, r.ID)
	if errors.Is(err, engine.ErrNotFound) {
		p.log.Error("the container that was to be replaced was removed by somebody else", zap.String("container", r.Name), zap.String("id", r.ID))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if c.Name != r.Name {
		if err := p.engine.RenameContainer(ctx, r.ID, r.Name); err != nil {
			return false, fmt.Errorf("give container %s its name back: %w", r.Name, err)
		}
	}
	if c.RestartPolicy != r.Policy() {
		if err := p.engine.SetRestartPolicy(ctx, r.ID, r.Policy()); err != nil {
			return false, fmt.Errorf("give container %s its restart policy back: %w", r.Name, err)
		}
	}
	return p.startAgain(ctx, s, c)
}

// startAgain has a container run that ran before, and reports whether it goes on to. One
// that was told to stop by a worker that died may do so later: it is waited for that.
func (p *pass) startAgain(ctx context.Context, s Swap, c *engine.ContainerDetail) (runs bool, err error) {
	r := s.Replaced
	ran := r.State == events.StateRunning || r.State == events.StateRestarting || r.State == events.StatePaused
	switch {
	case !ran:
		return true, nil
	case c.State != events.StateExited && c.State != events.StateCreated:
		mayStop := s.Stopping && c.StartedAt.Equal(r.StartedAt) && !p.told()
		return !mayStop || p.orphanedFor(stopBound(c)), nil
	}
	if err := p.engine.Start(ctx, r.ID); err != nil {
		return false, fmt.Errorf("start container %s again: %w", r.Name, err)
	}
	p.log.Warn("the container that was to be replaced is back", zap.String("container", r.Name))
	if r.State == events.StatePaused {
		return true, p.engine.Pause(ctx, r.ID)
	}
	return true, nil
}

// removeVolumes removes the volumes that were made. One that somebody uses by now is
// that one's.
func (p *pass) removeVolumes(ctx context.Context, r *Restoration) error {
	for _, name := range r.Volumes {
		err := p.engine.RemoveVolume(ctx, name)
		switch {
		case errors.Is(err, engine.ErrInUse):
			p.log.Warn("a volume that was made for a restore is left: somebody uses it", zap.String("volume", name))
		case err != nil && !errors.Is(err, engine.ErrNotFound):
			return fmt.Errorf("remove volume %s: %w", name, err)
		}
	}
	return nil
}

// removeNetworks removes the networks that were made, as removeVolumes does.
func (p *pass) removeNetworks(ctx context.Context, r *Restoration) error {
	if len(r.Networks) == 0 {
		return nil
	}
	all, err := p.engine.Networks(ctx)
	if err != nil {
		return err
	}
	for _, made := range r.Networks {
		for _, n := range all {
			if n.ID != made.ID && (made.ID != "" || n.Name != made.Name) {
				continue
			}
			err := p.engine.RemoveNetwork(ctx, n.ID)
			switch {
			case errors.Is(err, engine.ErrInUse):
				p.log.Warn("a network that was made for a restore is left: somebody uses it", zap.String("network", n.Name))
			case err != nil:
				return fmt.Errorf("remove network %s: %w", n.Name, err)
			}
		}
	}
	return nil
}

// untagRestored removes the reference of the image, and the image with it unless it has
// another one. One that somebody uses by now is that one's.
func (p *pass) untagRestored(ctx context.Context, r *Restoration) error {
	if r.Image == "" {
		return nil
	}
	err := p.engine.RemoveImage(ctx, r.Image)
	if errors.Is(err, engine.ErrInUse) {
		p.log.Warn("an image that was loaded for a restore is left: somebody uses it", zap.String("image", r.Image))
		return nil
	}
	return err
}

// removeReplaced removes the container that was replaced.
func (p *pass) removeReplaced(ctx context.Context, id string) (done bool, err error) {
	if err := p.engine.RemoveStopped(ctx, id); err != nil {
		return false, fmt.Errorf("remove the container that was replaced (%s): %w", id, err)
	}
	return true, nil
}
