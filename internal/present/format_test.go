package present

import (
	"testing"
	"time"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"web-1":            "web-1",
		"größe 木":          "größe 木",
		"a\nb":             "a\nb",
		"\x1b[2J\r\t\x00":  `\u001b[2J\u000d\u0009\u0000`,
		"\u202egpj.exe":    `\u202egpj.exe`, // writes from right to left
		"\u0085\u2028\xff": `\u0085\u2028` + "\ufffd",
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Duration(1234567 * time.Microsecond): "1.235s",
		Duration(59999 * time.Millisecond):   "59.999s",
		Duration(90400 * time.Millisecond):   "1m30s",
		Millis(0):                            "0s",
		Millis(12.6):                         "13ms",
		Count(0, "item"):                     "0 items",
		Count(1, "item"):                     "1 item",
		Count(2, "item"):                     "2 items",
		ratioOf(300, 100):                    "3.00",
		ratioOf(300, 0):                      "",
		Bytes(1536):                          "1.5 KiB",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
