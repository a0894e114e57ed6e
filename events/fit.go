package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// MaxDataBytes is the greatest size of a result's data. With its attributes, and
	// within an entry of the ledger, it stays below the 1 MiB that a NATS server takes
	// by default.
	MaxDataBytes = 512 << 10
	// MaxItemDataBytes is the same of a result about one item. A job may have thousands
	// of them, and the ledger keeps them all.
	MaxItemDataBytes = 64 << 10
	// MaxText is the greatest size of a text in a result, in bytes as JSON writes it,
	// where its field does not say otherwise.
	MaxText = 1 << 10
	// MaxListed is the greatest number of entries in a list of a result; what is
	// beyond it is counted in the member beside the list.
	MaxListed = 500

	// maxNested is the greatest number of entries in a list within an entry of
	// another, and in one without a count beside it.
	maxNested = 8
	// omittedRoom is what the name and the digits of one count of left out entries
	// take at most.
	omittedRoom = 64
)

// Fit encodes a document, such as the data of a result, in at most limit bytes of
// JSON without HTML escapes, whatever is in it. Texts are cut as [Cut] does, to the
// bytes that the field's tag "cut" names, or MaxText. Lists of structs are cut at
// MaxListed entries and at their share of the limit; how many entries are left out
// is added to the field beside the list that has its name and "Omitted". A list
// without such a field, and one within an entry, keeps eight entries. Maps and bytes
// are the caller's to bound.
//
// The document is a struct, and is not changed.
func Fit(document any, limit int) ([]byte, error) {
	root := copyOf(reflect.ValueOf(document))
	var lists []*cutList
	trim(root, &lists)
	for _, l := range lists {
		l.field.Set(reflect.MakeSlice(l.field.Type(), 0, 0))
		if err := l.measure(limit); err != nil {
			return nil, err
		}
	}
	base, err := encode(root.Interface())
	if err != nil {
		return nil, err
	}
	share(lists, limit-len(base)-omittedRoom*len(lists))
	for _, l := range lists {
		l.fill()
	}
	return encode(root.Interface())
}

// cutList is a list of a document, and what of it fits.
type cutList struct {
	field, omitted reflect.Value
	all            reflect.Value
	sizes          []int // of the first entries, with their commas
	want, room     int   // bytes
}

// measure prepares as many entries as may be listed, and no more than have the
// whole limit for themselves.
func (l *cutList) measure(limit int) error {
	n := min(l.all.Len(), MaxListed)
	entries := reflect.MakeSlice(l.all.Type(), 0, n)
	for i := range n {
		entry := copyOf(l.all.Index(i))
		var nested []*cutList
		trim(entry, &nested)
		for _, inner := range nested {
			inner.truncate(maxNested)
		}
		raw, err := encode(entry.Interface())
		if err != nil {
			return err
		}
		if l.want += len(raw) + 1; l.want > limit {
			break
		}
		l.sizes = append(l.sizes, len(raw)+1)
		entries = reflect.Append(entries, entry)
	}
	l.omit(l.all.Len() - entries.Len())
	l.all = entries
	return nil
}

// truncate sets the field to the first n entries, with their texts cut.
func (l *cutList) truncate(n int) {
	n = min(n, l.all.Len())
	entries := reflect.MakeSlice(l.all.Type(), 0, n)
	for i := range n {
		entry := copyOf(l.all.Index(i))
		trim(entry, new([]*cutList))
		entries = reflect.Append(entries, entry)
	}
	l.omit(l.all.Len() - n)
	l.field.Set(entries)
}

// fill sets the field to the entries for which there is room.
func (l *cutList) fill() {
	n, used := 0, 0
	for n < len(l.sizes) && used+l.sizes[n] <= l.room {
		used += l.sizes[n]
		n++
	}
	l.omit(l.all.Len() - n)
	l.field.Set(l.all.Slice(0, n))
}

func (l *cutList) omit(n int) {
	if l.omitted.IsValid() {
		l.omitted.SetInt(l.omitted.Int() + int64(n))
	}
}

// share divides the room among the lists. Those that want less than an even part
// get what they want; the others divide the rest.
func share(lists []*cutList, room int) {
	ordered := slices.SortedFunc(slices.Values(lists), func(a, b *cutList) int { return a.want - b.want })
	for i, l := range ordered {
		l.room = min(l.want, max(room, 0)/(len(ordered)-i))
		room -= l.room
	}
}

var timeType = reflect.TypeFor[time.Time]()

// trim cuts the texts of a struct, and appends its lists of structs to lists. An
// entry of an inner list has no lists.
func trim(v reflect.Value, lists *[]*cutList) {
	for i := range v.NumField() {
		field, about := v.Field(i), v.Type().Field(i)
		switch {
		case field.Kind() == reflect.String:
			limit := MaxText
			if n, err := strconv.Atoi(about.Tag.Get("cut")); err == nil {
				limit = n
			}
			field.SetString(Cut(field.String(), limit))
		case field.Kind() == reflect.Struct && field.Type() != timeType:
			trim(field, lists)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			all := reflect.ValueOf(field.Interface()) // stays when the field is set
			l := &cutList{field: field, omitted: v.FieldByName(about.Name + "Omitted"), all: all}
			if l.omitted.IsValid() {
				*lists = append(*lists, l)
			} else {
				l.truncate(maxNested)
			}
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.String:
			trimTexts(field)
		}
	}
}

// trimTexts cuts a list of texts, and each of them.
func trimTexts(field reflect.Value) {
	texts := reflect.MakeSlice(field.Type(), min(field.Len(), maxNested), maxNested)
	for i := range texts.Len() {
		texts.Index(i).SetString(Cut(field.Index(i).String(), MaxText))
	}
	field.Set(texts)
}

// copyOf returns a copy of a struct that can be changed.
func copyOf(v reflect.Value) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	return c
}

// encode writes JSON without HTML escapes: a bracket is one byte, not six.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Cut returns a text that JSON writes in at most limit bytes. One that is longer
// loses its middle, where a mark says how many bytes it had; its end is kept, as
// that is where an error says its cause.
func Cut(text string, limit int) string {
	if jsonSize(text, limit) == len(text) {
		return text
	}
	mark := fmt.Sprintf("…[%d bytes]…", len(text))
	room := max(limit-len(mark), 0)
	head := prefix(text, room*3/4)
	tail := suffix(text, room-room*3/4)
	return head + mark + tail
}

// prefix returns the longest beginning of a text that JSON writes in limit bytes.
func prefix(text string, limit int) string { return text[:jsonSize(text, limit)] }

// suffix returns the longest end of a text that JSON writes in limit bytes.
func suffix(text string, limit int) string {
	at := len(text)
	for at > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:at])
		if limit -= written(r, size); limit < 0 {
			break
		}
		at -= size
	}
	return text[at:]
}

// jsonSize returns how many bytes of a text, from its beginning, JSON writes in at
// most limit bytes.
func jsonSize(text string, limit int) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		if limit -= written(r, size); limit < 0 {
			break
		}
		at += size
	}
	return at
}

// written is how many bytes JSON takes for a character that has size bytes.
func written(r rune, size int) int {
	switch {
	case r == '"' || r == '\\' || r == '\n' || r == '\r' || r == '\t' || r == '\b' || r == '\f':
		return 2
	case r < ' ' || r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029':
		return len(`\u0000`)
	}
	return size
}
