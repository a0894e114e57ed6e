// Program is what of our program runs in a helper, alone.
package main

import (
	"context"
	"os"

	"holdfast.io/holdfast/internal/volume"
)

func main() {
	if volume.Serve(context.Background(), volume.Op(os.Args[2]), os.Args[3], os.Stdin, os.Stdout, os.Stderr) != nil {
		os.Exit(1)
	}
}
