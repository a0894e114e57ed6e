package schematest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "holdfast.io/holdfast"

// constants returns the sorted values of the constants that are declared with
// this string type, beside it; nil if there are none. Reflection cannot tell, so
// they are read from the source.
func constants(t *testing.T, goType reflect.Type) []string {
	t.Helper()
	folder, ok := strings.CutPrefix(goType.PkgPath(), module+"/")
	if !ok {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(moduleRoot(t), folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			if d, ok := declaration.(*ast.GenDecl); ok && d.Tok == token.CONST {
				values = append(values, constantsIn(t, d, goType.Name())...)
			}
		}
	}
	slices.Sort(values)
	return values
}

// constantsIn returns the values of the constants of a type in one declaration.
func constantsIn(t *testing.T, d *ast.GenDecl, typeName string) []string {
	t.Helper()
	var values []string
	for _, s := range d.Specs {
		spec, _ := s.(*ast.ValueSpec)
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typeName {
			continue
		}
		for _, v := range spec.Values {
			literal, ok := v.(*ast.BasicLit)
			if !ok {
				t.Fatalf("a constant of type %s is not a literal", typeName)
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatalf("a constant of type %s: %v", typeName, err)
			}
			values = append(values, text)
		}
	}
	return values
}

// moduleRoot returns the folder of this module's source.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run inside the module")
		}
		dir = filepath.Dir(dir)
	}
}
