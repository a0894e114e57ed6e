package ledger_test

import (
	"testing"

	"holdfast.io/holdfast/internal/ledger"
)

func TestValid(t *testing.T) {
	for name, want := range map[string]struct{ key, pattern bool }{
		"web01":                {true, true},
		"db_2E01.a-b.item.17":  {true, true},
		"*":                    {false, true},
		">":                    {false, true},
		"web01.*.job":          {false, true},
		"web01.>":              {false, true},
		"":                     {false, false},
		".":                    {false, false},
		"a.":                   {false, false},
		".a":                   {false, false},
		"a..b":                 {false, false},
		"a b":                  {false, false},
		"a\nb":                 {false, false},
		"a\n":                  {false, false},
		"a*":                   {false, false},
		"a>":                   {false, false},
		">.a":                  {false, false},
		"a.>.b":                {false, false},
		"$KV.HOLDFAST_LOCKS.a": {false, false},
	} {
		if got := ledger.ValidKey(name); got != want.key {
			t.Errorf("key %q: %v", name, got)
		}
		if got := ledger.ValidPattern(name); got != want.pattern {
			t.Errorf("pattern %q: %v", name, got)
		}
	}
}
