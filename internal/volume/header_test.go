package volume

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"strings"
	"testing"
	"time"
)

// TestHeader: what is written of an entry is what archive/tar reads of it.
func TestHeader(t *testing.T) {
	long := "./" + strings.Repeat("folder/", 600) + "name"
	cases := map[string]header{
		"plain":            {name: "./a", kind: tar.TypeReg, mode: 0o644, uid: 1, gid: 2, mtime: timestamp{sec: 1700000000}},
		"all mode bits":    {name: "./a", kind: tar.TypeReg, mode: 0o7777},
		"folder":           {name: "./a/", kind: tar.TypeDir, mode: 0o1777},
		"nanoseconds":      {name: "./a", kind: tar.TypeReg, mtime: timestamp{1700000000, 123456789}},
		"one nanosecond":   {name: "./a", kind: tar.TypeReg, mtime: timestamp{1700000000, 1}},
		"before 1970":      {name: "./a", kind: tar.TypeReg, mtime: timestamp{sec: -86400}},
		"just before 1970": {name: "./a", kind: tar.TypeReg, mtime: timestamp{-1, 500000000}},
		"long before 1970": {name: "./a", kind: tar.TypeReg, mtime: timestamp{-1000, 999999999}},
		"far future":       {name: "./a", kind: tar.TypeReg, mtime: timestamp{1 << 40, 5}},
		"large owners":     {name: "./a", kind: tar.TypeReg, uid: 1<<32 - 2, gid: 1 << 31},
		"100 bytes":        {name: "./" + strings.Repeat("n", 98), kind: tar.TypeReg},
		"101 bytes":        {name: "./" + strings.Repeat("n", 99), kind: tar.TypeReg},
		"long name":        {name: long, kind: tar.TypeReg},
		"long link":        {name: "./a", kind: tar.TypeSymlink, link: long},
		"bytes":            {name: "./\xff\xfe\n\t=", kind: tar.TypeSymlink, link: "\x80"},
		"hard link":        {name: "./b", kind: tar.TypeLink, link: "./a"},
		"device":           {name: "./a", kind: tar.TypeBlock, major: 4095, minor: 1<<20 - 1},
		"fifo":             {name: "./a", kind: tar.TypeFifo},
		"attributes": {name: "./a", kind: tar.TypeReg, attributes: []attribute{
			{"user.a", "v"}, {"user.empty", ""}, {"user.binary", "\x00\xff\n="}, {"user.a=b%c", "x"},
			{"user.large", strings.Repeat("x", maxAttribute)},
		}},
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			raw, err := h.appendTo(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tar.NewReader(bytes.NewReader(raw)).Next()
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != h.name || got.Typeflag != h.kind || got.Linkname != h.link || got.Mode != int64(h.mode) ||
				got.Uid != int(h.uid) || got.Gid != int(h.gid) || got.Devmajor != int64(h.major) || got.Devminor != int64(h.minor) {
				t.Errorf("got %+v of %+v", got, h)
			}
			if want := time.Unix(h.mtime.sec, h.mtime.nsec); !got.ModTime.Equal(want) {
				t.Errorf("got the time %v of %v", got.ModTime, want)
			}
			attributes, err := attributesOf(got.PAXRecords)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(byName(attributes), byName(h.attributes)) {
				t.Errorf("got the attributes %q of %q", attributes, h.attributes)
			}
		})
	}
}

func byName(list []attribute) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		m[a.name] = a.value
	}
	return m
}

// TestHeaderSize: sizes above 8 GiB and those of files with holes.
func TestHeaderSize(t *testing.T) {
	h := header{name: "./large", kind: tar.TypeReg, size: 1 << 40}
	raw, err := h.appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tar.NewReader(bytes.NewReader(raw)).Next()
	if err != nil || got.Size != 1<<40 {
		t.Fatalf("got %+v and %v", got, err)
	}

	for name, size := range map[string]int64{"hole at the end": 1 << 20, "none": 8192} {
		t.Run(name, func(t *testing.T) {
			h := header{name: "./\xffsparse", kind: tar.TypeReg, size: size}
			var r regions
			r.add(region{4096, 4096})
			h.data = r.of(h.size)
			raw, err := h.appendTo(nil)
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, bytes.Repeat([]byte{'x'}, 4096)...)
			in := tar.NewReader(bytes.NewReader(raw))
			got, err := in.Next()
			if err != nil || got.Name != h.name || got.Size != size {
				t.Fatalf("got %+v and %v", got, err)
			}
			content, err := io.ReadAll(in)
			want := append(make([]byte, 4096), bytes.Repeat([]byte{'x'}, 4096)...)
			want = append(want, make([]byte, size-8192)...)
			if err != nil || !bytes.Equal(content, want) {
				t.Errorf("got %d bytes and %v", len(content), err)
			}
		})
	}
}

// TestHeaderTooManyAttributes: what no reader would take is not written.
func TestHeaderTooManyAttributes(t *testing.T) {
	h := header{name: "./a", kind: tar.TypeReg}
	for i := range 17 {
		h.attributes = append(h.attributes, attribute{"user." + strings.Repeat("n", i+1), strings.Repeat("v", maxAttribute)})
	}
	if _, err := h.appendTo(nil); err != errTooManyAttributes {
		t.Errorf("got %v", err)
	}
	h.attributes = h.attributes[:15]
	raw, err := h.appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tar.NewReader(bytes.NewReader(raw)).Next(); err != nil {
		t.Error(err)
	}
}

// TestRegionsBound: the map of a file with any number of holes is one that
// archive/tar reads, and nothing that is content is lost.
func TestRegionsBound(t *testing.T) {
	const count = 5 * maxRegions
	var r regions
	for i := range int64(count) {
		r.add(region{i * 1 << 40 / count &^ 511, 512})
	}
	list := r.of(1 << 40)
	if len(list) > maxRegions {
		t.Fatalf("%d regions", len(list))
	}
	if size := len(encodeMap(list)); size > 1<<20 {
		t.Errorf("the map has %d bytes", size)
	}
	at := 0
	for i := range int64(count) {
		offset := i * 1 << 40 / count &^ 511
		for list[at].end() < offset+512 {
			at++
		}
		if list[at].offset > offset {
			t.Fatalf("the region at %d is lost", offset)
		}
	}
}

// TestACLText: the text is that of getfacl -n.
func TestACLText(t *testing.T) {
	const access = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\xd2\x04\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x08\x00\x04\x00\x01\x00\x00\x00\x10\x00\x06\x00\xff\xff\xff\xff \x00\x04\x00\xff\xff\xff\xff"
	got, ok := aclRecord(attribute{attributeACL, access})
	want := attribute{"SCHILY.acl.access", "user::rw-\nuser:1234:rw-\ngroup::r--\ngroup:1:r--\nmask::rw-\nother::r--\n"}
	if !ok || got != want {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, value := range []string{"", "\x02", access[:9], "\x03" + access[1:], "\x02\x00\x00\x00\x99\x00\x06\x00\xff\xff\xff\xff"} {
		if got, ok := aclRecord(attribute{attributeACL, value}); ok {
			t.Errorf("got %q of %q", got, value)
		}
	}
	if _, ok := aclRecord(attribute{"user.a", access}); ok {
		t.Error("took user.a for an ACL")
	}
}
