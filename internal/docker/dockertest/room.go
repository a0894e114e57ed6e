package dockertest

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

//go:embed room.sh
var roomScript string

// room is where a daemon runs, see room.sh. It ends with this process.
type room struct {
	cmd   *exec.Cmd
	alive io.Closer // the room is there until this is closed
	said  *bytes.Buffer
	first string // the process id of its first process
}

func openRoom(dir, cgroup string, disk int64) (*room, error) {
	r := &room{cmd: exec.Command("sh", "-c", roomScript, "room.sh", dir, cgroup, fmt.Sprint(disk), Address), said: &bytes.Buffer{}}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C is for the test; the room is then cleared up
	r.cmd.Stderr = r.said
	r.cmd.WaitDelay = time.Second
	alive, err := r.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("make a room for an Engine: %w", err)
	}
	r.alive = alive
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a room for an Engine: %w", err), r.close())
	}
	r.first = strings.TrimSpace(line)
	return r, nil
}

// command is a program that will run in the room, as the only grandchild of the
// one that is started: nsenter would freeze with a child of its own.
func (r *room) command(program string, args ...string) *exec.Cmd {
	enter := []string{"--net", "--pid", "--mount", "--target", r.first, "--", "sh", "-c", `"$@" & wait $!`, "sh", program}
	return exec.Command("nsenter", append(enter, args...)...)
}

// path is a path in the room, seen from outside.
func (r *room) path(path string) string { return "/proc/" + r.first + "/root" + path }

// roomEnds bounds how long everything in a room takes to be gone.
const roomEnds = 30 * time.Second

// close ends everything in the room, and removes it.
func (r *room) close() error {
	err := r.alive.Close()
	late := time.AfterFunc(roomEnds, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	if ended := r.cmd.Wait(); ended != nil {
		return fmt.Errorf("clear up an Engine's room: %w: %s", ended, r.said)
	}
	return err
}
