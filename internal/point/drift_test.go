package point_test

import (
	"testing"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/schemas/schematest"
)

func TestManifestSchemaTypeAndExamplesAgree(t *testing.T) {
	schematest.Drift(t, "manifest", point.Manifest{})
}
