// Package hook reads and runs the commands that labels on a container name, and
// that run inside it around its snapshot.
package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Labels on a container that have commands run inside it around its snapshot. A
// command that is a JSON array of strings is run as it is; any other is run by
// /bin/sh -c.
const (
	LabelPre     = "holdfast.hook.pre"
	LabelPost    = "holdfast.hook.post"
	LabelTimeout = "holdfast.hook.timeout"
	LabelOnError = "holdfast.hook.on-error"
)

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
	// maxCommand bounds a command's label, in bytes: it is kept in undo records.
	maxCommand = 4 << 10
)

// Hooks are the commands that a container's labels name.
type Hooks struct {
	// Pre is run before the container is quiesced, Post after it runs again; nil
	// for none.
	Pre, Post *Command
	// Continue has the backup go on when Pre fails.
	Continue bool
}

// Command is one command inside a container.
type Command struct {
	// Command is the program and its arguments.
	Command []string `json:"command"`
	// Timeout is how long the command is waited for, in nanoseconds in JSON.
	Timeout time.Duration `json:"timeoutNs"`
}

// Parse reads the hooks from a container's labels. An error names the label
// and says what it must be.
func Parse(labels map[string]string) (Hooks, error) {
	timeout := defaultTimeout
	if text, ok := labels[LabelTimeout]; ok {
		var err error
		if timeout, err = time.ParseDuration(text); err != nil || timeout <= 0 || timeout > maxTimeout {
			return Hooks{}, fmt.Errorf("the label %s is %.64q; it must be a duration above zero and up to %g minutes, such as 30s",
				LabelTimeout, text, maxTimeout.Minutes())
		}
	}
	var h Hooks
	switch onError, ok := labels[LabelOnError]; {
	case onError == "continue":
		h.Continue = true
	case ok && onError != "fail":
		return Hooks{}, fmt.Errorf("the label %s is %.64q; it must be fail or continue", LabelOnError, onError)
	}
	var err error
	if h.Pre, err = parseHook(labels, LabelPre, timeout); err != nil {
		return Hooks{}, err
	}
	if h.Post, err = parseHook(labels, LabelPost, timeout); err != nil {
		return Hooks{}, err
	}
	return h, nil
}

// parseHook reads one command; nil if there is no such label.
func parseHook(labels map[string]string, label string, timeout time.Duration) (*Command, error) {
	text, ok := labels[label]
	if !ok {
		return nil, nil
	}
	command, err := parseCommand(text)
	if err != nil {
		return nil, fmt.Errorf("the label %s %w", label, err)
	}
	return &Command{Command: command, Timeout: timeout}, nil
}

// parseCommand reads the value of a command's label. Its errors follow the label
// as a predicate follows its subject.
func parseCommand(text string) ([]string, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("is empty; it must be a command, or be left out")
	case len(text) > maxCommand:
		return nil, fmt.Errorf("has %d bytes, and may have %d; put the command into a script inside the container", len(text), maxCommand)
	}
	command, ok := execForm(text)
	if !ok {
		command = []string{"/bin/sh", "-c", text}
	}
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("is a JSON array without a program; its first string must be one")
	}
	for _, word := range command {
		if strings.ContainsRune(word, 0) {
			return nil, errors.New("has a NUL character, which no command can have")
		}
	}
	return command, nil
}

// execForm reads a JSON array of strings, and of nothing else: null is none.
func execForm(text string) ([]string, bool) {
	var words []*string
	if err := json.Unmarshal([]byte(text), &words); err != nil || words == nil {
		return nil, false
	}
	command := make([]string, 0, len(words))
	for _, w := range words {
		if w == nil {
			return nil, false
		}
		command = append(command, *w)
	}
	return command, true
}

// Declared reports whether a container's labels name a command.
func Declared(labels map[string]string) bool {
	_, pre := labels[LabelPre]
	_, post := labels[LabelPost]
	return pre || post
}
