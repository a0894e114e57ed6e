package schemas_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"holdfast.io/holdfast/schemas"
)

func TestSchemasSayWhoTheyAre(t *testing.T) {
	for _, name := range append(schemas.Names(), "definitions") {
		schema := document(t, name)
		if got, want := schema["$id"], "https://holdfast.io/schemas/"+name+".schema.json"; got != want {
			t.Errorf("%s: $id is %v", name, got)
		}
		if got := schema["$schema"]; got != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: $schema is %v", name, got)
		}
		if schema["title"] == nil {
			t.Errorf("%s has no title", name)
		}
	}
}

// What a value breaks that does not match a pattern or a choice is said in the
// words of the title.
func TestPatternsAndChoicesHaveATitle(t *testing.T) {
	for _, name := range append(schemas.Names(), "definitions") {
		walk(document(t, name), "", func(at string, schema map[string]any) {
			_, choice := schema["anyOf"]
			pattern, isText := schema["pattern"].(string)
			if title, _ := schema["title"].(string); (choice || isText) && title == "" {
				t.Errorf("%s%s has no title for %q", name, at, pattern)
			}
		})
	}
}

func TestRequestsManifestAndMarksAreClosed(t *testing.T) {
	for _, name := range []string{
		"io.holdfast.backup.requested.v1", "io.holdfast.restore.requested.v1", "io.holdfast.verify.requested.v1",
		"io.holdfast.prune.requested.v1", "io.holdfast.copy.requested.v1", "io.holdfast.cancel.requested.v1", "manifest", "protected", "removed", "verified",
	} {
		walk(document(t, name), "", func(at string, schema map[string]any) {
			if schema["type"] == "object" && schema["additionalProperties"] != false {
				t.Errorf("%s%s takes unknown members", name, at)
			}
		})
	}
}

func TestEveryExampleBelongsToASchema(t *testing.T) {
	folders, err := filepath.Glob("examples/*valid/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, folder := range folders {
		files, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(schemas.Names(), filepath.Base(folder)) || len(files) == 0 {
			t.Errorf("%s has %d examples, and no schema or none of them", folder, len(files))
		}
	}
}

func document(t *testing.T, name string) map[string]any {
	t.Helper()
	raw, err := schemas.Source(name)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return schema
}

// walk visits every object of a document.
func walk(value any, at string, visit func(at string, object map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(at, value)
		for name, member := range value {
			walk(member, at+"/"+name, visit)
		}
	case []any:
		for _, entry := range value {
			walk(entry, at+"/*", visit)
		}
	}
}
