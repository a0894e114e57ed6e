// Command holdfast backs up Docker containers when something happens: it is the
// worker that serves a host, and the command line that asks for work and looks
// at what is stored.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/present"
)

// Exit statuses, see the contract.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitPartial   = 3
	exitCancelled = 130
)

// exitError ends the program with a status. Without a cause nothing is printed:
// what there is to say was said.
type exitError struct {
	status int
	cause  error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// usage marks an error as wrong usage.
func usage(format string, args ...any) error {
	return &exitError{status: exitUsage, cause: fmt.Errorf(format, args...)}
}

// exitFor turns how a job, or what was asked of all hosts, ended into an exit status.
func exitFor(o present.Outcome) error {
	switch o {
	case present.Succeeded:
		return nil
	case present.Partial:
		return &exitError{status: exitPartial}
	case present.Cancelled:
		return &exitError{status: exitCancelled}
	case present.Failed, present.Running:
	}
	return &exitError{status: exitFailed}
}

func main() { os.Exit(run(os.Args[1:])) }

// garbagePercent is how much garbage may lie beside what lives. What a backup
// holds is little and long-lived, so half of the usual is cheap to keep.
const garbagePercent = 50

func run(args []string) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	status := exitFailed
	exit, ok := errors.AsType[*exitError](err)
	if ok {
		status = exit.status
	}
	if !ok || exit.cause != nil {
		fmt.Fprintf(os.Stderr, "holdfast: %s\n", present.Escape(err.Error()))
	}
	return status
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Backs up Docker containers when something happens",
		Long: `Holdfast backs up Docker containers when something happens: a CloudEvent on a
NATS subject asks for a backup, and every step of it is an event.

On one machine nothing has to be set up: holdfast backup NAME does it all.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return &exitError{status: exitUsage}
		},
	}
	globalFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see '%s --help'", err, cmd.CommandPath())
	})
	root.AddCommand(
		serveCommand(), provisionCommand(), doctorCommand(), hostsCommand(), cancelCommand(), dlqCommand(), schemaCommand(),
		backupCommand(), restoreCommand(), verifyCommand(), copyCommand(), pruneCommand(), unpruneCommand(),
		listCommand(), showCommand(), exportCommand(), protectCommand(), unprotectCommand(), keysCommand(),
		demoCommand(), versionCommand())
	root.AddCommand(volumeHelperCommand())
	markUsage(root)
	return root
}

// markUsage makes wrong arguments of a command, and of those below it, wrong
// usage.
func markUsage(c *cobra.Command) {
	for _, below := range c.Commands() {
		markUsage(below)
	}
	check := c.Args
	if check == nil {
		check = cobra.NoArgs
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage("%w; see '%s --help'", err, cmd.CommandPath())
		}
		return nil
	}
}
