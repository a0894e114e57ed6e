package recreate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/engine"
)

// Engine is what the context of a container is asked of.
type Engine interface {
	Platform(ctx context.Context) (engine.Platform, error)
	Containers(ctx context.Context) ([]engine.Container, error)
	Networks(ctx context.Context) ([]engine.Network, error)
	InspectVolume(ctx context.Context, name string) (*engine.VolumeDetail, error)
	InspectImage(ctx context.Context, name string) (*engine.ImageDetail, error)
}

// Gather asks an Engine for the context of the container whose inspect document this
// is. What the Engine does not say about the rest of it stands in Unknown. It reports
// ErrEngineUnavailable.
func Gather(ctx context.Context, e Engine, inspected []byte) (*Context, error) {
	doc, err := document(inspected)
	if err != nil {
		return nil, err
	}
	g := &gatherer{engine: e, doc: doc, context: &Context{
		FormatVersion: FormatVersion, Networks: []Network{}, Volumes: []Volume{}, Containers: []Container{},
	}}
	for _, step := range []func(context.Context) error{g.platform, g.image, g.networks, g.volumes, g.containers} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return g.context, nil
}

// gatherer gathers the context of one container.
type gatherer struct {
	engine  Engine
	doc     object
	context *Context
}

// known reports whether the Engine has answered about something, and enters what is
// therefore unknown: a point that lacks it is better than none. That the Engine is away
// is an error.
func (g *gatherer) known(ctx context.Context, err error, what string) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.Is(err, engine.ErrEngineUnavailable):
		return false, fmt.Errorf("%s: %w", what, err)
	}
	g.context.Unknown = append(g.context.Unknown, fmt.Sprintf("%s: %v", what, err))
	return false, nil
}

func (g *gatherer) platform(ctx context.Context) (err error) {
	if g.context.Engine, err = g.engine.Platform(ctx); err != nil {
		return fmt.Errorf("ask the Engine what containers can expect of it: %w", err)
	}
	return nil
}

func (g *gatherer) image(ctx context.Context) error {
	id := text(g.doc["Image"])
	if id == "" {
		return nil
	}
	img, err := g.engine.InspectImage(ctx, id)
	if ok, err := g.known(ctx, err, "the image that it was made from"); !ok {
		return err
	}
	g.context.Image = &Image{ID: img.ID, References: some(img.References), Digests: some(img.Digests), Config: img.Config}
	return nil
}

// some is a list that is not nil, as the schema wants them.
func some[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

func anyOf(all map[string]string) map[string]string {
	if all == nil {
		return map[string]string{}
	}
	return all
}

func (g *gatherer) networks(ctx context.Context) error {
	endpoints := members(at(g.doc, "NetworkSettings", "Networks"))
	mode := text(at(g.doc, "HostConfig", "NetworkMode"))
	if len(endpoints) == 0 && (isPredefined(mode) || strings.HasPrefix(mode, "container:")) {
		return nil
	}
	all, err := g.engine.Networks(ctx)
	if ok, err := g.known(ctx, err, "its networks"); !ok {
		return err
	}
	found := map[string]bool{}
	for _, n := range all {
		_, connected := endpoints[n.Name]
		if !connected && (isPredefined(mode) || mode != n.Name && !strings.HasPrefix(n.ID, mode)) {
			continue
		}
		found[n.Name] = true
		n.IPAM.Subnets, n.Options, n.Labels, n.IPAM.Options = some(n.IPAM.Subnets), anyOf(n.Options), anyOf(n.Labels), anyOf(n.IPAM.Options)
		g.context.Networks = append(g.context.Networks, Network{Network: n, Subnets: g.chosenBy(n, members(endpoints[n.Name]))})
	}
	for _, name := range sortedNames(endpoints) {
		if !found[name] {
			g.context.Unknown = append(g.context.Unknown, fmt.Sprintf("its network %s: it is no longer there", name))
		}
	}
	slices.SortFunc(g.context.Networks, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// chosenBy says who chose a network's subnets. Engines before API 1.44 take a static
// address only where somebody did, and no Engine leaves out a part of a subnet by
// itself.
func (g *gatherer) chosenBy(n engine.Network, endpoint object) Subnets {
	for _, s := range n.IPAM.Subnets {
		if s.Range != "" || len(s.Reserved) > 0 || s.Gateway == "" {
			return SubnetsAsked
		}
	}
	config := members(endpoint["IPAMConfig"])
	if (!isEmpty(config["IPv4Address"]) || !isEmpty(config["IPv6Address"])) && !g.context.Engine.Speaks("1.44") {
		return SubnetsAsked
	}
	return SubnetsUnknown
}

// anonymousLabel is on volumes that Engines from 24 on made without being told a name.
const anonymousLabel = "com.docker.volume.anonymous"

func (g *gatherer) volumes(ctx context.Context) error {
	for _, entry := range list(g.doc["Mounts"]) {
		mount := members(entry)
		name := text(mount["Name"])
		if text(mount["Type"]) != "volume" || name == "" ||
			slices.ContainsFunc(g.context.Volumes, func(v Volume) bool { return v.Name == name }) {
			continue
		}
		v, err := g.engine.InspectVolume(ctx, name)
		if ok, err := g.known(ctx, err, "its volume "+name); err != nil {
			return err
		} else if !ok {
			continue
		}
		_, labelled := v.Labels[anonymousLabel]
		volume := Volume{
			Name: v.Name, Driver: v.Driver, Scope: v.Scope, Options: anyOf(v.Options), Labels: anyOf(v.Labels),
			Anonymous: labelled || fullID.MatchString(v.Name),
		}
		if !v.CreatedAt.IsZero() {
			volume.CreatedAt = &v.CreatedAt
		}
		g.context.Volumes = append(g.context.Volumes, volume)
	}
	slices.SortFunc(g.context.Volumes, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// containers enters what the other containers are called that the document names.
func (g *gatherer) containers(ctx context.Context) error {
	uses := g.uses()
	if len(uses) == 0 {
		return nil
	}
	all, err := g.engine.Containers(ctx)
	if ok, err := g.known(ctx, err, "the other containers that it uses"); !ok {
		return err
	}
	for _, u := range uses {
		i := slices.IndexFunc(all, func(c engine.Container) bool { return c.ID == u.ref || c.Name == u.ref })
		if i < 0 {
			i = slices.IndexFunc(all, func(c engine.Container) bool { return strings.HasPrefix(c.ID, u.ref) })
		}
		if i < 0 {
			g.context.Unknown = append(g.context.Unknown, fmt.Sprintf("container %s, which it uses (%s): it is no longer there", u.ref, u.use))
			continue
		}
		g.enter(all[i], u.use)
	}
	slices.SortFunc(g.context.Containers, func(a, b Container) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (g *gatherer) enter(c engine.Container, use Use) {
	i := slices.IndexFunc(g.context.Containers, func(o Container) bool { return o.ID == c.ID })
	if i < 0 {
		i = len(g.context.Containers)
		g.context.Containers = append(g.context.Containers, Container{ID: c.ID, Name: c.Name})
	}
	if known := &g.context.Containers[i]; !slices.Contains(known.Uses, use) {
		known.Uses = append(known.Uses, use)
	}
}

// namedUse is a container as a document names it.
type namedUse struct {
	ref string // id, beginning of it, or name
	use Use
}

// uses returns the other containers that the document names.
func (g *gatherer) uses() []namedUse {
	var all []namedUse
	add := func(ref string, use Use) {
		if ref = strings.TrimPrefix(ref, "/"); ref != "" {
			all = append(all, namedUse{ref, use})
		}
	}
	host := members(g.doc["HostConfig"])
	for _, mode := range []struct {
		member string
		use    Use
	}{{"NetworkMode", UseNetwork}, {"IpcMode", UseIPC}, {"PidMode", UsePID}} {
		if ref, ok := strings.CutPrefix(text(host[mode.member]), "container:"); ok {
			add(ref, mode.use)
		}
	}
	for _, entry := range texts(host["VolumesFrom"]) {
		ref, _, _ := strings.Cut(entry, ":")
		add(ref, UseVolumes)
	}
	links := texts(host["Links"])
	for _, ep := range members(at(g.doc, "NetworkSettings", "Networks")) {
		links = append(links, texts(members(ep)["Links"])...)
	}
	slices.Sort(links)
	for _, link := range links {
		child, _ := splitLink(link)
		add(child, UseLink)
	}
	return all
}
