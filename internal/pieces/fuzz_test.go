package pieces

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"holdfast.io/holdfast/internal/codec"
)

// recipeOf encodes a recipe of one piece in one pack.
func recipeOf(t testing.TB, change func(r *record)) []byte {
	t.Helper()
	r := record{length: 100, plain: 90}
	change(&r)
	digest := "sha256:" + string(bytes.Repeat([]byte("ab"), 32))
	b, err := appendEnd(appendRecord(header(cut{sizesOf(leastNormal), fastCDC}), r), int64(r.plain), make([]byte, 32),
		[]packRef{{digest, 100, digest}})
	must(t, err)
	return b
}

func decode(b []byte) (pieces int, err error) {
	d, err := newDecoder(bytes.NewReader(b))
	for err == nil {
		if _, err = d.next(); err == nil {
			pieces++
		}
	}
	if err == io.EOF {
		err = nil
	}
	return pieces, err
}

// A recipe is read as it was written, and every cut and every number that cannot be is seen.
func TestRecipes(t *testing.T) {
	good := recipeOf(t, func(*record) {})
	if n, err := decode(good); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	hostile := map[string][]byte{
		"another pack":    recipeOf(t, func(r *record) { r.pack = 1 }),
		"beyond the pack": recipeOf(t, func(r *record) { r.offset = 1 }),
		"nothing":         recipeOf(t, func(r *record) { r.plain = 0 }),
		"too much":        recipeOf(t, func(r *record) { r.plain = 4*leastNormal + 1 }),
		"stored as more":  recipeOf(t, func(r *record) { r.length = 90 + slack + 1 }),
		"stored as none":  recipeOf(t, func(r *record) { r.length = 0 }),
		"cut otherwise":   header(cut{sizesOf(leastNormal), 3}),
		"more follows":    append(bytes.Clone(good), 0),
	}
	for i := range good {
		hostile["cut"+string(rune(i))] = good[:i]
	}
	for name, b := range hostile {
		if _, err := decode(b); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecipe(f *testing.F) {
	f.Add(recipeOf(f, func(*record) {}))
	f.Add(header(cut{sizesOf(leastNormal), fastCDC}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decode(b); err != nil && !errors.Is(err, codec.ErrDamaged) {
			t.Error(err)
		}
	})
}
