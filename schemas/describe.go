package schemas

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"holdfast.io/holdfast/schemas/strictjson"
)

// describe says in plain words what a value does wrong. Where the rule is a
// pattern or a choice, the words are the title of the schema that has it.
func describe(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, not %s", withArticle(k.Want[0]), withArticle(k.Got))
	case *kind.Enum:
		return "must be " + oneOf(k.Want)
	case *kind.Const:
		return fmt.Sprintf("must be %v", k.Want)
	case *kind.Pattern, *kind.AnyOf:
		return "must be " + title(e.SchemaURL)
	case *kind.Format:
		return fmt.Sprintf("must be a %s of RFC 3339", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, not %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d entries, not %d", k.Want, k.Got)
	case *kind.MinLength, *kind.MinItems:
		return "must not be empty"
	case *kind.UniqueItems:
		return fmt.Sprintf("must not have an entry twice, as %d and %d", k.Duplicates[0], k.Duplicates[1])
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d members, not %d", k.Want, k.Got)
	case *kind.Minimum:
		return fmt.Sprintf("must be at least %s", k.Want.RatString())
	}
	return e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
}

// unknown says what is wrong with a member that the schema at a location does
// not have.
func unknown(location, member string) string {
	if _, free := subschema(location)["patternProperties"]; free {
		return "has a name that is not allowed in " + title(location)
	}
	return "unknown member " + strictjson.Quote(member)
}

// title returns the title of the schema at a location, which a test holds every
// schema with a pattern or a choice to have.
func title(location string) string {
	text, _ := subschema(location)["title"].(string)
	return text
}

// subschema returns the schema at a location, as it is written.
func subschema(location string) map[string]any {
	file, fragment, _ := strings.Cut(strings.TrimPrefix(location, baseURL), "#")
	node, _ := document(strings.TrimSuffix(file, suffix)) // the schema that refused something is there
	for token := range jsontext.Pointer(fragment).Tokens() {
		token, _ = url.PathUnescape(token)
		switch parent := node.(type) {
		case map[string]any:
			node = parent[token]
		case []any:
			i, _ := strconv.Atoi(token)
			node = parent[i]
		}
	}
	schema, _ := node.(map[string]any)
	return schema
}

func withArticle(jsonType string) string {
	switch jsonType {
	case "null":
		return jsonType
	case "array", "object", "integer":
		return "an " + jsonType
	}
	return "a " + jsonType
}

func oneOf(values []any) string {
	parts := make([]string, len(values))
	for i, v := range values {
		text, _ := json.Marshal(v)
		parts[i] = string(text)
	}
	return "one of " + strings.Join(parts, ", ")
}
