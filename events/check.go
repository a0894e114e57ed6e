package events

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/schemas/strictjson"
)

// checks are the rules for attributes that have one of their own.
var checks = map[string]func(value string) error{
	attrSpecVersion:  checkVersion,
	attrID:           checkIdentity,
	attrSource:       checkSource,
	attrType:         checkIdentity,
	attrSubject:      checkNotBlank,
	attrTime:         checkTime,
	attrDataSchema:   checkDataSchema,
	attrContentType:  checkContentType,
	ExtCorrelationID: checkIdentity,
	ExtExpiryTime:    checkTime,
}

// checkAttribute says what is wrong with an attribute.
func checkAttribute(name, value string) error {
	if !attributeName.MatchString(name) || name == memberData {
		return errors.New("is not a name of an attribute: only lower-case letters and digits are allowed, and not \"data\"")
	}
	if strings.ContainsFunc(value, forbidden) {
		return errors.New("has a control character or a noncharacter")
	}
	if check, ok := checks[name]; ok {
		return check(value)
	}
	return nil
}

var attributeName = regexp.MustCompile(`^[a-z0-9]+$`)

// forbidden reports whether CloudEvents forbids a character in every string.
func forbidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r)
}

func checkVersion(value string) error {
	if value != event.CloudEventsVersionV1 {
		return fmt.Errorf("is %s; it must be %q", strictjson.Quote(value), event.CloudEventsVersionV1)
	}
	return nil
}

func checkNotBlank(value string) error {
	if strings.TrimSpace(value) == "" {
		return errors.New("is empty")
	}
	return nil
}

// checkIdentity is the rule for what identifies an event or its kind.
func checkIdentity(value string) error {
	if len(value) > MaxIDBytes {
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(value), MaxIDBytes)
	}
	return checkNotBlank(value)
}

func checkSource(value string) error {
	if err := checkIdentity(value); err != nil {
		return err
	}
	if _, err := url.Parse(value); err != nil {
		return errors.New("is not a URI-reference")
	}
	return nil
}

func checkDataSchema(value string) error {
	if u, err := url.Parse(value); err != nil || !u.IsAbs() {
		return errors.New("is not an absolute URI")
	}
	return nil
}

func checkContentType(value string) error {
	media, _, err := mime.ParseMediaType(value)
	if err != nil || media != event.ApplicationJSON && !strings.HasSuffix(media, "+json") {
		return fmt.Errorf("is %s; the data must be JSON, as %s", strictjson.Quote(value), event.ApplicationJSON)
	}
	return nil
}

func checkTime(value string) error {
	_, err := parseTime(value)
	return err
}

// parseTime reads an RFC 3339 time, and nothing of what else [time.Parse] takes.
func parseTime(value string) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(value)); err != nil {
		return time.Time{}, fmt.Errorf("is %s; it must be an RFC 3339 time, such as 2026-01-02T15:04:05Z", strictjson.Quote(value))
	}
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, fmt.Errorf("is %s; its year must be from 1 to 9999", strictjson.Quote(value))
	}
	return t, nil
}
