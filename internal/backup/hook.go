package backup

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
	LabelHookPre     = "holdfast.hook.pre"
	LabelHookPost    = "holdfast.hook.post"
	LabelHookTimeout = "holdfast.hook.timeout"
	LabelHookOnError = "holdfast.hook.on-error"
)

const (
	hookTimeout    = 30 * time.Second
	maxHookTimeout = 10 * time.Minute
	// maxHookCommand bounds a command's label, in bytes: it is kept in notes.
	maxHookCommand = 4 << 10
)

// Hooks are the commands that a container's labels name.
type Hooks struct {
	// Pre is run before the container is quiesced, Post after it was let go; nil
	// for none.
	Pre, Post *HookCommand
	// Continue has the backup go on when Pre fails.
	Continue bool
}

// HookCommand is one command inside a container.
type HookCommand struct {
	// Command is the program and its arguments.
	Command []string `json:"command"`
	// Timeout is how long the command is waited for, in nanoseconds in JSON.
	Timeout time.Duration `json:"timeoutNs"`
}

// ParseHooks reads the hooks from a container's labels. An error names the label
// and says what it must be.
func ParseHooks(labels map[string]string) (Hooks, error) {
	timeout := hookTimeout
	if text, ok := labels[LabelHookTimeout]; ok {
		var err error
		if timeout, err = time.ParseDuration(text); err != nil || timeout <= 0 || timeout > maxHookTimeout {
			return Hooks{}, fmt.Errorf("the label %s is %.64q; it must be a duration above zero and up to %g minutes, such as 30s",
				LabelHookTimeout, text, maxHookTimeout.Minutes())
		}
	}
	var h Hooks
	switch onError, ok := labels[LabelHookOnError]; {
	case onError == "continue":
		h.Continue = true
	case ok && onError != "fail":
		return Hooks{}, fmt.Errorf("the label %s is %.64q; it must be fail or continue", LabelHookOnError, onError)
	}
	var err error
	if h.Pre, err = parseHook(labels, LabelHookPre, timeout); err != nil {
		return Hooks{}, err
	}
	if h.Post, err = parseHook(labels, LabelHookPost, timeout); err != nil {
		return Hooks{}, err
	}
	return h, nil
}

// parseHook reads one command; nil if there is no such label.
func parseHook(labels map[string]string, label string, timeout time.Duration) (*HookCommand, error) {
	text, ok := labels[label]
	if !ok {
		return nil, nil
	}
	command, err := parseCommand(text)
	if err != nil {
		return nil, fmt.Errorf("the label %s %w", label, err)
	}
	return &HookCommand{Command: command, Timeout: timeout}, nil
}

// parseCommand reads the value of a command's label. Its errors follow the label
// as a predicate follows its subject.
func parseCommand(text string) ([]string, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("is empty; it must be a command, or be left out")
	case len(text) > maxHookCommand:
		return nil, fmt.Errorf("has %d bytes, and may have %d; put the command into a script inside the container", len(text), maxHookCommand)
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

// hasHooks reports whether a container's labels name a command.
func hasHooks(labels map[string]string) bool {
	_, pre := labels[LabelHookPre]
	_, post := labels[LabelHookPost]
	return pre || post
}
