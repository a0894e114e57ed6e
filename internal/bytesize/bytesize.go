// Package bytesize writes numbers of bytes for people, and reads what they write.
package bytesize

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes in a configuration: 150GiB, 10 MB, 4096.
type Size int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is no number of bytes: it is 150GiB, 500MB or 4096", text)
	}
	*s = Size(n)
	return nil
}

// MarshalText implements [encoding.TextMarshaler]: UnmarshalText reads it.
func (s Size) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(s), 10), nil }

// Format returns a number of bytes in its largest binary unit: with one decimal
// below ten ("2.4 MiB"), rounded above ("734 KiB"), and exact below one KiB
// ("120 B"). A negative number is 0.
func Format(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", max(n, 0))
	}
	value, unit := float64(n)/1024, 0
	for ; value >= 1023.5 && unit < len(units)-1; unit++ { // 1023.5 is rounded to 1024
		value /= 1024
	}
	if value < 9.95 { // and 9.95 to 10.0
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.0f %s", value, units[unit])
}

var units = []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
