package point_test

import (
	"testing"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/schemas/schematest"
)

func TestManifestSchemaTypeAndExamplesAgree(t *testing.T) {
	schematest.Drift(t, "manifest", point.Manifest{})
}

func TestMarkSchemasTypesAndExamplesAgree(t *testing.T) {
	for schema, mark := range map[string]any{"verified": point.Verified{}, "protected": point.Protected{}, "removed": point.Removed{}} {
		t.Run(schema, func(t *testing.T) { schematest.Drift(t, schema, mark) })
	}
}
