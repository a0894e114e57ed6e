//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// endBound is how long a program that is asked to end may take for it.
const endBound = time.Minute

// defaultEngine is used where DOCKER_HOST is empty, so that the docker command's
// contexts do not lead it to another Engine than Holdfast.
const defaultEngine = "unix:///var/run/docker.sock"

// Programs runs other programs, all in one environment.
type Programs struct {
	Env []string
}

// NewPrograms returns programs that share the Engine and the number of threads,
// and know nothing of the user's own Holdfast.
func NewPrograms() Programs {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "HOLDFAST_") })
	if os.Getenv("DOCKER_HOST") == "" {
		env = append(env, "DOCKER_HOST="+defaultEngine)
	}
	env = append(env, fmt.Sprintf("GOMAXPROCS=%d", Threads))
	return Programs{Env: slices.Clip(env)} // whoever appends to it has a copy
}

// Command returns a program to start. It is asked to end when ctx ends. A
// Ctrl-C on the terminal does not reach it: it would come twice.
func (p Programs) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = p.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endBound
	return cmd
}

// Output runs a program, which reads stdin, and returns what it prints.
func (p Programs) Output(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := p.Command(ctx, name, args...)
	cmd.Stdin = stdin
	return output(cmd)
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", failed(cmd, err, stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Docker runs the docker command.
func (p Programs) Docker(ctx context.Context, args ...string) (string, error) {
	return p.Output(ctx, nil, "docker", args...)
}

// Commit commits a container and returns the image's id. It is not interrupted:
// the Engine would go on with it, and leave the image.
func (p Programs) Commit(ctx context.Context, container string) (string, error) {
	return p.Docker(context.WithoutCancel(ctx), "commit", container)
}

// Pipe runs two programs, with the output of the first as the input of the
// second, as a shell does.
func Pipe(from, to *exec.Cmd) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	var fromErr, toErr bytes.Buffer
	from.Stdout, from.Stderr = w, &fromErr
	to.Stdin, to.Stderr = r, &toErr
	err = to.Start()
	if err == nil {
		err = from.Start()
	}
	// What is left are the programs' own ends: each notices when the other is gone.
	_, _ = r.Close(), w.Close()
	if from.Process != nil {
		if werr := from.Wait(); werr != nil {
			err = failed(from, werr, fromErr.Bytes())
		}
	}
	if to.Process != nil {
		if werr := to.Wait(); werr != nil && err == nil {
			err = failed(to, werr, toErr.Bytes())
		}
	}
	return err
}

// failed says which program failed, and what it said.
func failed(cmd *exec.Cmd, err error, stderr []byte) error {
	return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr))
}

// RequirePrograms reports all programs that are missing.
func RequirePrograms() error {
	var missing []string
	for _, name := range []string{"docker", "zstd", "sync", "busybox", "go"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not in the PATH: %s; the benchmark needs the docker command, zstd, sync (coreutils), a static busybox and the Go tool",
			strings.Join(missing, ", "))
	}
	return nil
}
