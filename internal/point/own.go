package point

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/events"
)

// decodeOwn decodes a manifest that is, byte for byte, what Encode makes of it, and
// whose values the schema allows. A catalogue reads thousands of manifests, and nearly
// all are such; holding one against the schema takes many times as long. If ok is false
// nothing is known of it, and the schema decides.
//
// A large one is left to the schema as well: it is rare, and would be decoded twice.
//
// That the bytes are the same shows that no member is missing, unknown, doubled or of
// another type, so only values are left to look at. A test holds that against the
// schema.
func decodeOwn(raw []byte) (m *Manifest, ok bool) {
	if len(raw) > 64<<10 {
		return nil, false
	}
	m = &Manifest{}
	if json.Unmarshal(raw, m) != nil {
		return nil, false
	}
	own, err := m.marshal()
	return m, err == nil && bytes.Equal(own, raw) && m.isPlain()
}

// isPlain reports whether the schema allows all values. It may be stricter than the
// schema.
func (m *Manifest) isPlain() bool {
	switch {
	case !isID(m.ID), !isHost(m.Host), !isJob(m.Job), m.Attempt < 1, m.NotRunningMillis < 0:
		return false
	case m.Artifacts == nil, !isQuiesce(m.Quiesce), !isState(m.State):
		return false
	case slices.Contains([]int{SealedVersion, SealedLayersVersion, SealedPiecesVersion}, m.FormatVersion):
		return len(m.Sealed) > 0 && !m.hasPrivate() && isPointItem(m.Item.Kind) && m.hasPlainLists()
	case !slices.Contains([]int{FormatVersion, LayeredVersion, PiecesVersion, PushedVersion}, m.FormatVersion):
		return false
	case m.Sealed != nil, m.NotIncluded == nil, m.Request == Request{}, m.Engine == Engine{}:
		return false
	}
	switch m.Item.Kind {
	case events.ItemContainer, events.ItemImage:
		return m.Image.isPlain() && m.hasPlainLists()
	case events.ItemVolume:
		return m.Image == nil && m.hasPlainLists()
	case events.ItemPoint:
	}
	return false
}

// isPointItem reports whether points are of things of this kind.
func isPointItem(kind events.ItemKind) bool {
	return kind == events.ItemContainer || kind == events.ItemImage || kind == events.ItemVolume
}

func (i *Image) isPlain() bool {
	return i != nil && isDigest(i.ID) && isDigest(i.ConfigDigest) && i.Layers >= 0 && isTransport(i.Transport) &&
		len(i.TransportReason) <= MaxReason
}

func (m *Manifest) hasPlainLists() bool {
	for _, a := range m.Artifacts {
		if a.Size < 0 || a.UncompressedSize < 0 || !isDigest(a.Digest) {
			return false
		}
	}
	for _, w := range m.Warnings {
		if len(w.Code) > 64 || len(w.Message) > 400 {
			return false
		}
	}
	for name, value := range m.Tags {
		if name == "" || len(name) > 128 || len(value) > 1024 || strings.ContainsFunc(name, isControl) {
			return false
		}
	}
	return len(m.Warnings) <= events.MaxWarnings && len(m.Tags) <= 64
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }

// idForm is the form of a point's id: a digit for 0, a hex digit for f, and else the
// character itself.
const idForm = "00000000T000000Z-ffffffff"

func isID(s string) bool { return len(s) == len(idForm) && isIDPrefix(s) }

// isIDPrefix reports whether a point's id may begin so.
func isIDPrefix(s string) bool {
	if len(s) > len(idForm) {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; idForm[i] {
		case '0':
			if c < '0' || c > '9' {
				return false
			}
		case 'f':
			if !isHex(c) {
				return false
			}
		default:
			if c != idForm[i] {
				return false
			}
		}
	}
	return true
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.IndexFunc(hex, func(r rune) bool { return r > '~' || !isHex(byte(r)) }) < 0
}

func isJob(s string) bool {
	return len(s) == 16 && strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }) < 0
}

func isHost(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_' && len(s)-i > 2 && isUpperHex(s[i+1]) && isUpperHex(s[i+2]):
			i += 2
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func isTransport(t events.Transport) bool {
	return slices.Contains([]events.Transport{"", events.TransportSave, events.TransportPush, events.TransportDirect}, t)
}

func isQuiesce(q events.Quiesce) bool {
	return slices.Contains([]events.Quiesce{"", events.QuiescePause, events.QuiesceNone, events.QuiesceStop}, q)
}

func isState(s events.State) bool {
	return slices.Contains([]events.State{"", events.StateCreated, events.StateRunning, events.StatePaused, events.StateRestarting,
		events.StateExited, events.StateRemoving, events.StateDead}, s)
}
