package config_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/config"
)

// manual returns the configuration file that the manual shows.
func manual(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(raw), "\n## Configuration\n")
	_, block, _ := strings.Cut(chapter, "```yaml\n")
	yaml, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("the manual shows no configuration file")
	}
	return yaml
}

func TestManualsFileMakesSense(t *testing.T) {
	c, err := load(t, manual(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// The manual names every member, and says how its variable follows from its name.
func TestMembersAreInTheManualAndHaveVariables(t *testing.T) {
	words := map[string]bool{}
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(manual(t), -1) {
		words[word] = true
	}
	capital := regexp.MustCompile(`[A-Z]`)
	var walk func(reflect.Type, string)
	walk = func(s reflect.Type, path string) {
		for i := range s.NumField() {
			f := s.Field(i)
			name := f.Tag.Get("yaml")
			if name == "-" {
				continue
			}
			if !words[name] {
				t.Errorf("the manual does not name %s%s", path, name)
			}
			variable := strings.ToUpper(capital.ReplaceAllString(name, "_$0"))
			if f.Type.Kind() == reflect.Struct {
				if got := f.Tag.Get("envPrefix"); got != variable+"_" {
					t.Errorf("the variables of %s%s begin with %q, want %q", path, name, got, variable+"_")
				}
				walk(f.Type, path+name+".")
				continue
			}
			if got := f.Tag.Get("env"); got != variable {
				t.Errorf("the variable of %s%s is %q, want %q", path, name, got, variable)
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
}
