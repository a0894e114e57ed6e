// Idle is what the containers of the tests can run, see enginetest.Program.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 1 {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		return
	}
	switch os.Args[1] {
	case "say":
		fmt.Fprint(os.Stdout, os.Args[2])
		fmt.Fprint(os.Stderr, os.Args[3])
		os.Exit(number(os.Args[4]))
	case "fill":
		fmt.Print(strings.Repeat("x", number(os.Args[2])-1) + ".")
	case "keep":
		f, err := os.Create(os.Args[2])
		check(err)
		_, err = io.Copy(f, os.Stdin)
		check(err)
		check(f.Close())
	case "show":
		content, err := os.ReadFile(os.Args[2])
		check(err)
		_, err = os.Stdout.Write(content)
		check(err)
	default:
		fmt.Fprintf(os.Stderr, "what is %q?\n", os.Args[1:])
		os.Exit(2)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return n
}
