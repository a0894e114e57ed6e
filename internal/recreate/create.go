package recreate

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/engine"
)

// Source is a container as a point holds it.
type Source struct {
	// Document is the Engine's inspect document of it (container.json).
	Document []byte
	// Context is what the document names but does not hold; nil for a point without
	// one, which warnings tell.
	Context *Context
}

// Choices are what whoever brings a container back has decided about it.
type Choices struct {
	// Image is the id of the image on the Engine that the container is made from.
	Image string
	// Volumes are the names of the volumes to attach, by the names that they had. One
	// that is not in it keeps its name.
	Volumes map[string]string
	// NoCopy are the names that volumes had which the Engine must not fill from the
	// image, should they be empty.
	NoCopy []string
	// Containers are the names or ids by which to call other containers, by their names
	// in the context, or else as the document calls them. One that is not in it is called
	// by its name.
	Containers map[string]string
}

// Call is how a container is made again on an Engine.
type Call struct {
	// Body is the body of POST /containers/create.
	Body []byte
	// Connect are the networks to connect the container to before it is started, and
	// Disconnect those to disconnect it from, by their names; both after it was made.
	Connect    []Connection
	Disconnect []string
	// Needs are what must be there before the container is made, each once.
	Needs []Need
	// Differences are the members that are known beforehand not to become what they
	// were, in the order of their names.
	Differences []Difference
	// Warnings are what may keep the container from starting, and what is not known; one
	// sentence each.
	Warnings []string
}

// Connection is a container's endpoint in a network.
type Connection struct {
	// Network is the network's name.
	Network string
	// Endpoint is the endpoint's configuration, as the Engine's API has it
	// (EndpointSettings).
	Endpoint []byte
}

// NeedKind is the kind of thing that a container needs.
type NeedKind string

// What a container needs. A path is one of the Engine's host.
const (
	NeedNetwork   NeedKind = "network"
	NeedVolume    NeedKind = "volume"
	NeedContainer NeedKind = "container"
	NeedImage     NeedKind = "image"
	NeedPath      NeedKind = "path"
)

// Need is something that must be there before a container is made. An Engine makes a
// volume or a path that is missing, empty and without a word.
type Need struct {
	Kind NeedKind
	// Name is what it is called on the Engine: a name, an id or a path.
	Name string
	// Was is the name that it had; for a container that of the context, if it is known.
	Was string
	// Member is the JSON Pointer of the member in the document that names it.
	Member string
}

// Difference is a member of a container's configuration that is not as it was.
type Difference struct {
	// Member is the member's JSON Pointer in the inspect document. An entry of a list of
	// mounts is called by its place in the container instead of its number.
	Member string
	// Was and Now are its values as JSON, shortened; empty for one that is not there,
	// and for values that may hold secrets.
	Was, Now string
	// Reason says why it is not as it was; empty if that is not to be expected.
	Reason string
}

// RefusedError says why an Engine cannot have a container with this configuration.
type RefusedError struct {
	// Member is the member's JSON Pointer in the inspect document.
	Member string
	// Reason says what is in the way, and what to do about it.
	Reason string
}

func (e *RefusedError) Error() string { return e.Member + ": " + e.Reason }

// Plan returns how the container is made again on the target. An error joins all that
// keeps it from being made, each a [*RefusedError]; that a document cannot be read is
// another error.
//
// Every member of the configuration is asked for again, those too that the container
// had from its image: the image of a point has them all as well, so both ways lead to
// the same, and this one also with an image that lacks them. Only what the old Engine
// filled in by itself is left to the new one.
func Plan(src Source, target *engine.Platform, c Choices) (*Call, error) {
	d, err := newDraft(src, target, c)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(){
		d.image, d.otherContainers, d.hostName, d.engineDefaults, d.securityOptions, d.resources,
		d.mounts, d.versions, d.networks, d.fits,
	} {
		step()
	}
	if len(d.refused) > 0 {
		return nil, errors.Join(d.refused...)
	}
	body := clone(d.config).(object) //nolint:forcetypeassert // a clone is of the same type
	body["HostConfig"] = d.host
	if len(d.endpoints) > 0 {
		body["NetworkingConfig"] = object{"EndpointsConfig": d.endpoints}
	}
	if d.call.Body, err = json.Marshal(body); err != nil {
		return nil, fmt.Errorf("encode the create call: %w", err)
	}
	slices.SortStableFunc(d.call.Differences, func(a, b Difference) int { return strings.Compare(a.Member, b.Member) })
	return d.call, nil
}

// draft is a create call in the making.
type draft struct {
	doc     object
	short   string   // the first 12 digits of the container's id
	ctx     *Context // nil if there is none
	target  *engine.Platform
	choices Choices

	config, host object // as they will be asked for
	endpoints    object // by the networks' names
	call         *Call
	refused      []error
}

func newDraft(src Source, target *engine.Platform, c Choices) (*draft, error) {
	doc, err := document(src.Document)
	if err != nil {
		return nil, err
	}
	d := &draft{
		doc: doc, short: shortID(doc), ctx: src.Context, target: target, choices: c, call: &Call{}, endpoints: object{},
		config: members(clone(doc["Config"])), host: members(clone(doc["HostConfig"])),
	}
	if d.ctx == nil {
		d.warn("the point says nothing about the Engine that the container was on, so what that Engine filled in by itself " +
			"is asked for as if somebody had chosen it")
	}
	return d, nil
}

// shortID is what an Engine calls a container by default in host names and aliases.
func shortID(doc object) string {
	id := text(doc["Id"])
	return id[:min(12, len(id))]
}

// sourceSpeaks reports whether the document has at least this version of the Engine's
// API. Without a context the document's form tells, as far as it matters.
func (d *draft) sourceSpeaks(version string) bool {
	if d.ctx != nil {
		return d.ctx.Engine.Speaks(version)
	}
	assumed := engine.Platform{APIVersion: "1.41"}
	for _, ep := range members(at(d.doc, "NetworkSettings", "Networks")) {
		if _, ok := members(ep)["DNSNames"]; ok {
			assumed.APIVersion = "1.44"
		}
		if _, ok := members(ep)["GwPriority"]; ok {
			assumed.APIVersion = "1.48"
			break
		}
	}
	return assumed.Speaks(version)
}

func (d *draft) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(d.call.Warnings, text) {
		d.call.Warnings = append(d.call.Warnings, text)
	}
}

func (d *draft) refuse(member, format string, args ...any) {
	d.refused = append(d.refused, &RefusedError{Member: member, Reason: fmt.Sprintf(format, args...)})
}

// differ enters a member that will not be what it was. What it will be is not known
// beforehand if now is nil.
func (d *draft) differ(member string, was, now any, reason string) {
	d.call.Differences = append(d.call.Differences,
		Difference{Member: member, Was: shown(member, was), Now: shown(member, now), Reason: reason})
}

func (d *draft) need(kind NeedKind, name, was, member string) {
	n := Need{Kind: kind, Name: name, Was: was, Member: member}
	if !slices.ContainsFunc(d.call.Needs, func(o Need) bool { return o.Kind == kind && o.Name == name }) {
		d.call.Needs = append(d.call.Needs, n)
	}
}

func (d *draft) image() {
	if was := text(d.config["Image"]); was != d.choices.Image {
		d.differ("/Config/Image", was, d.choices.Image, becauseImage)
	}
	d.config["Image"] = d.choices.Image
}

var fullID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// other returns by what to call another container that the document calls by ref, and
// enters that it is needed.
func (d *draft) other(ref, member string) string {
	ref = strings.TrimPrefix(ref, "/")
	name := ref
	if known, ok := d.ctx.find(ref); ok {
		name = known.Name
	} else if fullID.MatchString(ref) {
		d.warn("the point does not say what container %s is called, which %s names", ref, member)
	}
	call := name
	if chosen, ok := d.choices.Containers[name]; ok {
		call = chosen
	}
	d.need(NeedContainer, call, name, member)
	return call
}

// otherContainers calls other containers by what they are called now: those whose
// namespaces or volumes this one uses, and those that it is linked to.
func (d *draft) otherContainers() {
	for _, mode := range []string{"NetworkMode", "IpcMode", "PidMode", "Cgroup"} {
		if ref, ok := strings.CutPrefix(text(d.host[mode]), "container:"); ok {
			d.host[mode] = "container:" + d.other(ref, pointer("HostConfig", mode))
		}
	}
	var from []string
	for _, entry := range texts(d.host["VolumesFrom"]) {
		ref, mode, hasMode := strings.Cut(entry, ":")
		ref = d.other(ref, "/HostConfig/VolumesFrom")
		if hasMode {
			ref += ":" + mode
		}
		from = append(from, ref)
	}
	if from != nil {
		d.host["VolumesFrom"] = textList(from)
	}
	var links []string
	for _, link := range texts(d.host["Links"]) {
		child, alias := splitLink(link)
		links = append(links, d.other(child, "/HostConfig/Links")+":"+alias)
	}
	if links != nil {
		d.host["Links"] = textList(links)
	}
}

// splitLink reads a link. An inspect document has it as /child:/parent/alias, the
// create call as child:alias.
func splitLink(link string) (child, alias string) {
	child, alias, _ = strings.Cut(link, ":")
	child = strings.TrimPrefix(child, "/")
	if alias = alias[strings.LastIndex(alias, "/")+1:]; alias == "" {
		alias = child
	}
	return child, alias
}

// sharesNetwork reports whether the container uses the network of another one.
func (d *draft) sharesNetwork() bool {
	return strings.HasPrefix(text(d.host["NetworkMode"]), "container:")
}

// hostName leaves the host name to the Engine where it is the Engine's: the short id,
// the host's own, that of the container whose network it uses.
func (d *draft) hostName() {
	name := text(d.config["Hostname"])
	switch {
	case d.sharesNetwork():
		// The Engine writes the other's names into the document, and refuses to be asked
		// for any, and for what else belongs to the network.
		for _, member := range []string{"Hostname", "Domainname", "ExposedPorts", "MacAddress"} {
			delete(d.config, member)
		}
		for _, member := range []string{"PortBindings", "PublishAllPorts", "Dns", "ExtraHosts", "Links"} {
			delete(d.host, member)
		}
	case name == d.short, text(d.host["UTSMode"]) == "host":
		delete(d.config, "Hostname")
	case text(d.host["NetworkMode"]) != "host":
	case d.ctx == nil || name == d.ctx.Engine.HostName:
		delete(d.config, "Hostname")
	}
}
