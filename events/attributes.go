package events

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"holdfast.io/holdfast/schemas/strictjson"
)

// Names of the CloudEvents attributes that are not extensions.
const (
	attrSpecVersion = "specversion"
	attrID          = "id"
	attrSource      = "source"
	attrType        = "type"
	attrSubject     = "subject"
	attrTime        = "time"
	attrDataSchema  = "dataschema"
	attrContentType = "datacontenttype"
)

// attributes are the attributes of an event as they were sent, by their names.
type attributes map[string]attribute

// attribute is the text of one attribute, or why it has none.
type attribute struct {
	text string
	err  error
}

// newEvent makes an event of attributes. It has every one that is valid,
// whatever is wrong with the others.
func newEvent(attrs attributes) (event.Event, []Violation) {
	var bad []Violation
	for _, name := range []string{attrSpecVersion, attrID, attrSource, attrType} {
		if _, ok := attrs[name]; !ok {
			bad = append(bad, missing(name))
		}
	}
	implied := event.ApplicationJSON
	ctx := &event.EventContextV1{DataContentType: &implied}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		attr := attrs[name]
		err := attr.err
		if err == nil {
			err = checkAttribute(name, attr.text)
		}
		if err != nil {
			bad = append(bad, Violation{Pointer: strictjson.Pointer(name), Message: err.Error()})
			continue
		}
		setAttribute(ctx, name, attr.text)
	}
	return event.Event{Context: ctx}, bad
}

func missing(attribute string) Violation {
	return Violation{Pointer: strictjson.Pointer(attribute), Message: "is missing"}
}

// setAttribute sets an attribute that was found valid.
func setAttribute(ctx *event.EventContextV1, name, value string) {
	switch name {
	case attrSpecVersion: // the type of ctx says it
	case attrID:
		ctx.ID = value
	case attrType:
		ctx.Type = value
	case attrSource:
		// In the opaque part a URL is kept letter for letter; parsed and printed
		// again, it can be another string, and so another identity.
		ctx.Source = types.URIRef{URL: url.URL{Opaque: value}}
	case attrSubject:
		ctx.Subject = &value
	case attrTime:
		t, _ := parseTime(value)
		_ = ctx.SetTime(t) // takes the zero time for none, as ev.Time does
	case attrDataSchema:
		scheme, rest, _ := strings.Cut(value, ":")
		ctx.DataSchema = &types.URI{URL: url.URL{Scheme: scheme, Opaque: rest}}
	case attrContentType:
		ctx.DataContentType = &value
	default:
		if ctx.Extensions == nil {
			ctx.Extensions = map[string]any{}
		}
		ctx.Extensions[name] = value
	}
}

// readBinary reads an event whose attributes are headers.
func readBinary(contentType string, attrs attributes, body []byte) (event.Event, []Violation) {
	if _, ok := attrs[attrContentType]; !ok && contentType != "" {
		attrs[attrContentType] = attribute{text: contentType}
	}
	ev, bad := newEvent(attrs)
	if len(bad) == 0 && len(body) > 0 {
		ev.DataEncoded = body
	}
	return ev, bad
}

const (
	headerPrefix      = "ce-"
	contentTypeHeader = "content-type"
)

// readHeaders returns the content type and the attributes among the headers,
// whose names may be in any letter case. A header that occurs twice is an error:
// which of the two would count?
func readHeaders(headers map[string][]string) (contentType string, attrs attributes, err error) {
	attrs = attributes{}
	seen := 0
	for header, values := range headers {
		header = strings.ToLower(header)
		name, isAttribute := strings.CutPrefix(header, headerPrefix)
		switch {
		case isAttribute:
			attrs[name] = readHeader(attrs, name, values)
		case header == contentTypeHeader && len(values) > 0:
			contentType = values[0]
			seen += len(values)
		}
	}
	if seen > 1 {
		err = errors.New("has the header content-type more than once")
	}
	return contentType, attrs, err
}

func readHeader(others attributes, name string, values []string) attribute {
	if _, again := others[name]; again || len(values) != 1 {
		return attribute{err: fmt.Errorf("must be in exactly one header %s%s", headerPrefix, name)}
	}
	text, err := decodeValue(values[0])
	return attribute{text: text, err: err}
}
