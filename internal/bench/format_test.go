//go:build linux

package bench

import "testing"

func TestMarkdown(t *testing.T) {
	const want = "| a \\| b | c |\n| --- | --- |\n|  | d |\n"
	if got := Markdown([][]string{{"a | b", "c"}, {"", "d"}}); got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}
