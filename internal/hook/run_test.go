package hook

import (
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	long := strings.Repeat("ü", maxLine)
	for output, want := range map[string]string{
		"":                   "",
		" \r\n\n":            "",
		"one":                `"one"`,
		"one\ntwo \r\n\n":    `"two"`,
		"10%\r20%\r100%\r":   `"100%"`,
		"\x00\x9b\xff\u202e": `"\x00\x9b\xff\u202e"`,
		long:                 `"` + long + `"`,
		long + "x":           `"` + long + `"…`,
	} {
		if got := lastLine([]byte(output)); got != want {
			t.Errorf("of %q it is %s, want %s", output, got, want)
		}
	}
}
