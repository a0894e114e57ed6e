package events

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/schemas/strictjson"
)

// HostAny stands for the host in the job id of a request to any host, and in the
// ledger's keys of such a job. It is the id of no host.
const HostAny = "any"

// hostNamedAny is the id of a host whose Engine is named as [HostAny].
const hostNamedAny = "_61ny"

// HostID makes a host's id of an Engine's name: every byte outside
// [A-Za-z0-9-] is written _XX, in upper-case hex, so that the id can be one
// element of a subject and part of a consumer's name. The name "any" is written
// _61ny.
func HostID(engineName string) string {
	if engineName == HostAny {
		return hostNamedAny
	}
	var b strings.Builder
	for i := range len(engineName) {
		if c := engineName[i]; isHostByte(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02X", c)
		}
	}
	return b.String()
}

// ValidHostID reports whether id is one that [HostID] can make.
func ValidHostID(id string) bool {
	switch id {
	case HostAny:
		return false
	case hostNamedAny:
		return true
	}
	for i := 0; i < len(id); i++ {
		if isHostByte(id[i]) {
			continue
		}
		code, ok := strings.CutPrefix(id[i:min(i+3, len(id))], "_")
		raw, err := hex.DecodeString(code)
		if !ok || err != nil || len(raw) != 1 || isHostByte(raw[0]) || code != strings.ToUpper(code) {
			return false
		}
		i += len(code)
	}
	return id != ""
}

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}

// JobID identifies a request as carried out on one host: the first 16
// characters of the lower-case base32 (RFC 4648) of the hash of source, id and
// host. For a request to any host, host is [HostAny]. It is the same on every
// redelivery, and in both modes of the binding: source and id are hashed without
// percent-encoding and double quotes, see schemas/README.md.
func JobID(source, id, host string) string {
	sum := hash(plain(source), plain(id), host)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum))[:16]
}

// RequestDigest identifies what a request asks for: its type, and the meaning of
// its data. How the same JSON is written makes no difference. It is the SHA-256,
// in hex, of the type, NUL and the data's canonical form (RFC 8785), or the data
// itself where it is not JSON.
func RequestDigest(request event.Event) string {
	data := request.Data()
	if canonical, err := strictjson.Canonical(data); err == nil {
		data = canonical
	}
	return hex.EncodeToString(hash(request.Type(), string(data)))
}

// PointID identifies the stored result of one item of a request: the time at
// which the request was stored in its stream, and 8 hex digits of the hash of
// source, id, host, kind and the item's full id, source and id as in [JobID]. It is
// the same on every redelivery.
func PointID(streamTime time.Time, source, id, host string, kind ItemKind, itemID string) string {
	sum := hash(plain(source), plain(id), host, string(kind), itemID)
	return streamTime.UTC().Format(pointTimeLayout) + "-" + hex.EncodeToString(sum)[:8]
}

const pointTimeLayout = "20060102T150405Z"

// PointTime returns the time in a point's id: when the stream stored the request that
// the point was made for.
func PointTime(point string) (time.Time, error) {
	written, _, _ := strings.Cut(point, "-")
	t, err := time.Parse(pointTimeLayout, written)
	if err != nil || len(written) != len(pointTimeLayout) {
		return time.Time{}, fmt.Errorf("%q is not the id of a point: that begins with a time such as 20260302T141503Z", point)
	}
	return t, nil
}

// EventID identifies a result: the job, what it reports, and, for a type that a
// job has several of, 8 hex digits of the hash of a discriminator. It is the
// same however often the event is published.
func EventID(job, eventType, discriminator string) string {
	id := job + "-" + Short(eventType)
	if discriminator == "" {
		return id
	}
	return id + "-" + hex.EncodeToString(hash(discriminator))[:8]
}

// hash is the SHA-256 of the fields joined by NUL.
func hash(fields ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(fields, "\x00")))
	return sum[:]
}
