package strictjson_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"holdfast.io/holdfast/schemas/strictjson"
)

func TestCheckTakesWhatEveryReaderTakesTheSameWay(t *testing.T) {
	for _, text := range []string{
		"null", " true\n", `"x"`, "0", "-0.0e0", "1e308", "5e-324", "[]", "{}", `{"a":{"a":[1,1]},"A":1}`, `"\ud83d\ude00"`,
		strings.Repeat("[", strictjson.MaxDepth) + strings.Repeat("]", strictjson.MaxDepth),
	} {
		if err := strictjson.Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestCheckSaysWhatIsWrongAndWhere(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":                    {"", "is empty; a JSON value is expected"},
		"only space":                 {" \n", "is empty; a JSON value is expected"},
		"two values":                 {"{} {}", "goes on after the JSON value, at byte 2"},
		"a value and a bracket":      {"1]", "goes on after the JSON value, at byte 1"},
		"NUL at the end":             {"1\x00", "goes on after the JSON value, at byte 1"},
		"a byte order mark":          {"\ufeff{}", "is not JSON, at byte 0"},
		"cut short":                  {`{"a":[1,`, "/a is not JSON, at byte 8"},
		"a comment":                  {`{"a":1 /**/}`, "is not JSON, at byte 7"},
		"NaN":                        {`{"a":NaN}`, "/a is not JSON, at byte 5"},
		"a leading zero":             {`{"a":01}`, "is not JSON, at byte 6"},
		"a trailing comma":           {`[1,]`, "is not JSON, at byte 2"},
		"a member twice":             {`{"a":1,"b":2,"a":3}`, "/a occurs twice"},
		"a member twice by escapes":  {`{"a":1,"\u0061":3}`, "/a occurs twice"},
		"a member twice deep inside": {`{"a":[{"b/c":{"d":1,"d":1}}]}`, "/a/0/b~1c/d occurs twice"},
		"bytes that are not UTF-8":   {"{\"a\":\"\xff\"}", "/a is not JSON, at byte 6"},
		"half a surrogate pair":      {`{"a":"\ud800"}`, "/a is not JSON, at byte 6"},
		"a raw control character":    {"{\"a\":\"\n\"}", "/a is not JSON, at byte 6"},
		"a level too deep":           {strings.Repeat("[", strictjson.MaxDepth+1), "is nested deeper than 64 levels, at byte 65"},
		"a number too large":         {`{"a":[1e309]}`, "/a/0 is a number that no 64-bit float can hold"},
		"a number too small":         {`{"a":1e-999999}`, "/a is a number that no 64-bit float can hold"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := strictjson.Check([]byte(test.text))
			if bad, ok := errors.AsType[*strictjson.Error](err); !ok || !strings.HasPrefix(bad.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestDepthCostsNothing(t *testing.T) {
	text := []byte(strings.Repeat(`{"a":[`, 1<<20))
	if n := testing.AllocsPerRun(1, func() { _ = strictjson.Check(text) }); n > 1000 {
		t.Errorf("%v allocations", n)
	}
}

func TestMembersAreTheTextsOfTheValues(t *testing.T) {
	members, err := strictjson.Members([]byte(` { "a" : [1, 2] , "b":"x","\u0063":null,"":{ } } `))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "[1, 2]", "b": `"x"`, "c": "null", "": "{ }"}
	if !maps.Equal(texts(members), want) {
		t.Errorf("got %q", members)
	}
}

func TestMembersThatWereReadBeforeAFaultAreReturned(t *testing.T) {
	tests := map[string]struct {
		text string
		err  string
		want map[string]string
	}{
		"cut short":          {`{"a":1,"b":{"c":`, "/b/c is not JSON", map[string]string{"a": "1"}},
		"too deep":           {`{"a":1,"b":` + strings.Repeat("[", 100), "is nested deeper", map[string]string{"a": "1"}},
		"a member twice":     {`{"a":1,"b":2,"b":2,"c":3}`, "/b occurs twice", map[string]string{"a": "1", "c": "3"}},
		"three times":        {`{"b":1,"b":2,"b":3}`, "/b occurs twice", map[string]string{}},
		"text behind":        {`{"a":1} x`, "goes on after the JSON value", map[string]string{"a": "1"}},
		"not an object":      {`["a"]`, "is not a JSON object", map[string]string{}},
		"not JSON":           {`hello`, "is not JSON", map[string]string{}},
		"nothing":            {``, "is empty", map[string]string{}},
		"twice and cut":      {`{"a":1,"b":2,"b":3,`, "is not JSON", map[string]string{"a": "1"}},
		"a number too great": {`{"a":1,"b":1e999}`, "/b is a number", map[string]string{"a": "1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			members, err := strictjson.Members([]byte(test.text))
			if bad, ok := errors.AsType[*strictjson.Error](err); !ok || !strings.HasPrefix(bad.Error(), test.err) {
				t.Errorf("got the error %v, want %q", err, test.err)
			}
			if !maps.Equal(texts(members), test.want) {
				t.Errorf("got %q", members)
			}
		})
	}
}

func TestPointerIsEscapedAndBounded(t *testing.T) {
	if got := strictjson.Pointer("a/b", "~", "", "0"); got != "/a~1b/~0//0" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("x", 2000)
	if got := strictjson.Pointer("a", long, "b"); got != "/a" {
		t.Errorf("got %.20q", got)
	}
}

func TestQuoteIsBounded(t *testing.T) {
	for text, want := range map[string]string{
		"a\"\x1b":                 `"a\"\x1b"`,
		strings.Repeat("ü", 64):   `"` + strings.Repeat("ü", 64) + `"`,
		strings.Repeat("ü", 1000): `"` + strings.Repeat("ü", 64) + `"…`,
	} {
		if got := strictjson.Quote(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzMembers shows that Members and Check agree, and that what they accept is
// what Go's own decoder finds.
func FuzzMembers(f *testing.F) {
	for _, text := range []string{`{"a":1,"b":[{}]}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1e999}`, `[1]`, "", "{} x",
		"{\"\xff\":0}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		members, err := strictjson.Members(raw)
		if strictjson.Check(raw) != nil {
			return
		}
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil { // not an object
			if err == nil {
				t.Fatal("Members takes what is no object")
			}
			return
		}
		if err != nil {
			t.Fatalf("Check takes it, Members does not: %v", err)
		}
		if !maps.Equal(texts(members), texts(want)) {
			t.Errorf("got %q, want %q", members, want)
		}
	})
}

func texts[T ~[]byte](members map[string]T) map[string]string {
	all := map[string]string{}
	for name, raw := range members {
		all[name] = string(raw)
	}
	return all
}
