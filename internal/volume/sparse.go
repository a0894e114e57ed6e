package volume

import "strconv"

// region is a part of a file that is not a hole, in bytes.
type region struct{ offset, length int64 }

func (r region) end() int64 { return r.offset + r.length }

// maxRegions is how many regions are kept of a file: archive/tar's reader takes a map
// of 1 MiB, and a region needs 40 bytes at most.
const maxRegions = 16 << 10

// regions collects the regions of a file. Where there are more than maxRegions, the
// smallest holes are taken for content, which they are as well: zeros.
type regions struct {
	list []region
	// smallest is the length of the smallest hole that is kept.
	smallest int64
}

// add takes the next region, which begins after the last.
func (r *regions) add(next region) {
	if last := len(r.list) - 1; last >= 0 && next.offset-r.list[last].end() < r.smallest {
		r.list[last].length = next.end() - r.list[last].offset
		return
	}
	r.list = append(r.list, next)
	for len(r.list) >= maxRegions {
		r.smallest = max(2*r.smallest, blockSize)
		r.list = joined(r.list, r.smallest)
	}
}

// joined fills the holes that are smaller, in place.
func joined(list []region, smallest int64) []region {
	kept := list[:1]
	for _, next := range list[1:] {
		if last := &kept[len(kept)-1]; next.offset-last.end() < smallest {
			last.length = next.end() - last.offset
		} else {
			kept = append(kept, next)
		}
	}
	return kept
}

// of returns the regions of a file of that size, or nil if it has no holes. The last
// one ends where the file does, though it may be empty: so GNU tar knows the size.
func (r *regions) of(size int64) []region {
	if len(r.list) == 1 && r.list[0] == (region{0, size}) || size == 0 {
		return nil
	}
	if n := len(r.list); n == 0 || r.list[n-1].end() < size {
		return append(r.list, region{offset: size})
	}
	return r.list
}

func dataSize(list []region) int64 {
	var size int64
	for _, r := range list {
		size += r.length
	}
	return size
}

// encodeMap is the map of a sparse file in format 1.0, filled up to a block: the
// number of regions, then offset and length of each, a line for every number.
func encodeMap(list []region) []byte {
	b := strconv.AppendInt(nil, int64(len(list)), 10)
	b = append(b, '\n')
	for _, r := range list {
		b = append(strconv.AppendInt(b, r.offset, 10), '\n')
		b = append(strconv.AppendInt(b, r.length, 10), '\n')
	}
	return pad(b)
}
