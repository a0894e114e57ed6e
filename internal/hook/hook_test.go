package hook

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseHooks(t *testing.T) {
	command := func(timeout time.Duration, words ...string) *Command {
		return &Command{Command: words, Timeout: timeout}
	}
	cases := map[string]struct {
		labels map[string]string
		want   Hooks
	}{
		"no labels":    {nil, Hooks{}},
		"other labels": {map[string]string{"holdfast.quiesce": "none", "holdfast.hook": "x"}, Hooks{}},
		"a line for the shell": {map[string]string{LabelPre: `echo "$A" > /b`},
			Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `echo "$A" > /b`)}},
		"a program and its arguments": {map[string]string{LabelPost: ` ["/bin/x", "", "a b", "\"ü\""]` + "\n"},
			Hooks{Post: command(30*time.Second, "/bin/x", "", "a b", `"ü"`)}},
		"both, and all options": {map[string]string{LabelPre: `["a"]`, LabelPost: `["b"]`, LabelTimeout: "1m30s", LabelOnError: "continue"},
			Hooks{Pre: command(90*time.Second, "a"), Post: command(90*time.Second, "b"), Continue: true}},
		"the defaults, said": {map[string]string{LabelPre: `["a"]`, LabelTimeout: "30s", LabelOnError: "fail"},
			Hooks{Pre: command(30*time.Second, "a")}},
		"the longest timeout": {map[string]string{LabelPre: `["a"]`, LabelTimeout: "10m"},
			Hooks{Pre: command(10*time.Minute, "a")}},
		"brackets of the shell": {map[string]string{LabelPre: `[ -e /x ]`}, Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `[ -e /x ]`)}},
		"an array of other things": {map[string]string{LabelPre: `["a", 1]`},
			Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `["a", 1]`)}},
		"an array with null": {map[string]string{LabelPre: `["a", null]`}, Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `["a", null]`)}},
		"null":               {map[string]string{LabelPre: `null`}, Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `null`)}},
		"a string of JSON":   {map[string]string{LabelPre: `"a"`}, Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `"a"`)}},
		"something after the array": {map[string]string{LabelPre: `["a"] b`},
			Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", `["a"] b`)}},
		"as long as can be": {map[string]string{LabelPre: strings.Repeat("x", 4096)},
			Hooks{Pre: command(30*time.Second, "/bin/sh", "-c", strings.Repeat("x", 4096))}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(c.labels)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("it is %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestParseHooksRefuses(t *testing.T) {
	cases := map[string]struct {
		label, value string
		want         string
	}{
		"an empty command":      {LabelPre, "", "the label holdfast.hook.pre is empty"},
		"a blank command":       {LabelPost, " \n", "the label holdfast.hook.post is empty"},
		"an empty array":        {LabelPre, "[]", "without a program"},
		"an empty program":      {LabelPre, `["", "a"]`, "without a program"},
		"NUL for the shell":     {LabelPre, "a\x00b", "NUL"},
		"NUL in the array":      {LabelPre, `["a", "\u0000"]`, "NUL"},
		"too long a command":    {LabelPost, strings.Repeat("x", 4097), "has 4097 bytes, and may have 4096"},
		"no timeout":            {LabelTimeout, "", `is ""; it must be a duration`},
		"a number":              {LabelTimeout, "30", `is "30"; it must be a duration`},
		"zero":                  {LabelTimeout, "0s", "above zero"},
		"a negative timeout":    {LabelTimeout, "-1s", "above zero"},
		"too long a timeout":    {LabelTimeout, "10m0.001s", "up to 10 minutes"},
		"an unknown policy":     {LabelOnError, "ignore", `the label holdfast.hook.on-error is "ignore"; it must be fail or continue`},
		"another letter case":   {LabelOnError, "Continue", "must be fail or continue"},
		"no policy":             {LabelOnError, "", "must be fail or continue"},
		"a hostile long policy": {LabelOnError, "\x1b" + strings.Repeat("x", 1000), `"\x1b` + strings.Repeat("x", 63) + `"; it must`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(map[string]string{c.label: c.value})
			if err == nil || !strings.Contains(err.Error(), c.want) || !reflect.DeepEqual(got, Hooks{}) {
				t.Errorf("it is %+v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
}

func FuzzParseHooks(f *testing.F) {
	f.Add(`["pg_dump", "-a"]`, "30s", "fail")
	f.Add("sync; echo done", "10m", "continue")
	f.Add("[]", "1h", "")
	f.Add(`["a", null]`, "-5s", "x")
	f.Fuzz(func(t *testing.T, pre, timeout, onError string) {
		h, err := Parse(map[string]string{LabelPre: pre, LabelTimeout: timeout, LabelOnError: onError})
		if err != nil {
			if !reflect.DeepEqual(h, Hooks{}) || !strings.Contains(err.Error(), "holdfast.hook.") {
				t.Errorf("it is %+v with the error %v", h, err)
			}
			return
		}
		words := h.Pre.Command
		if len(words) == 0 || words[0] == "" || strings.Contains(strings.Join(words, ""), "\x00") || h.Post != nil {
			t.Fatalf("the hooks are %+v", h)
		}
		if h.Pre.Timeout <= 0 || h.Pre.Timeout > 10*time.Minute || h.Continue != (onError == "continue") {
			t.Errorf("the hooks are %+v", h)
		}
		// What was read can be written as an array, and is read as the same.
		array, err := json.Marshal(words)
		if err != nil {
			t.Fatal(err)
		}
		if len(array) > maxCommand || !utf8.ValidString(pre) {
			return
		}
		again, err := Parse(map[string]string{LabelPre: string(array)})
		if err != nil || !slices.Equal(again.Pre.Command, words) {
			t.Errorf("%q is read as %q, %v", array, again.Pre, err)
		}
	})
}
