package events

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// encodeValue percent-encodes what may not stand in a header: space, '"', '%'
// and everything outside U+0021 to U+007E (CloudEvents, HTTP protocol binding,
// 3.1.3.2, whose rules the one for NATS has too).
func encodeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeValue undoes double quotes (RFC 9110, 5.6.4), and then percent-encoding,
// needed or not. What senders should have encoded and did not is taken as it is:
// UTF-8, a '%' without two hex digits, a quote without its other half.
func decodeValue(s string) (string, error) {
	if quotedString.MatchString(s) {
		s = quotedPair.ReplaceAllString(s[1:len(s)-1], "$1")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		code, _ := strings.CutPrefix(s[i:min(i+3, len(s))], "%")
		if raw, err := hex.DecodeString(code); s[i] == '%' && err == nil && len(raw) == 1 {
			b.WriteByte(raw[0])
			i += len(code)
		} else {
			b.WriteByte(s[i])
		}
	}
	if !utf8.ValidString(b.String()) {
		return "", errors.New("is not UTF-8")
	}
	return b.String(), nil
}

var (
	quotedString = regexp.MustCompile(`(?s)^"([^"\\]|\\.)*"$`)
	quotedPair   = regexp.MustCompile(`(?s)\\(.)`)
)
