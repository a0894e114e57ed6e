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

// decodeValue returns the text of a header's value. A decoded value that is not
// UTF-8 is an error.
func decodeValue(s string) (string, error) {
	if s = decodeOnce(s); !utf8.ValidString(s) {
		return "", errors.New("is not UTF-8")
	}
	return s, nil
}

// decodeOnce undoes double quotes (RFC 9110, 5.6.4), and then percent-encoding,
// needed or not. What senders should have encoded and did not is taken as it is:
// UTF-8, a '%' without two hex digits, a quote without its other half.
func decodeOnce(s string) string {
	if quotedString.MatchString(s) {
		s = quotedPair.ReplaceAllString(s[1:len(s)-1], "$1")
	}
	return percentDecode(s)
}

// percentDecode undoes percent-encoding once. A '%' without two hex digits stays.
func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
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
	return b.String()
}

// plain returns an attribute's value as it counts for identities: decoded as a
// header's value is, until nothing changes. A receiver has to decode a header once,
// and cannot know whether its sender encoded it: the source /a%2Fb comes as /a/b
// from a sender that did not, as /a%2Fb from one that did, and as /a%2Fb in
// structured mode. All three are one request. An escaped NUL stays, since NUL
// separates what is hashed.
func plain(s string) string {
	for {
		decoded := decodeOnce(s)
		if decoded == s || strings.Contains(decoded, "\x00") {
			return s
		}
		s = decoded
	}
}

var (
	quotedString = regexp.MustCompile(`(?s)^"([^"\\]|\\.)*"$`)
	quotedPair   = regexp.MustCompile(`(?s)\\(.)`)
)
