package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// api asks the server's JetStream API, where the library's own way would take
// more exchanges or permissions.
func (b *Bus) api(ctx context.Context, endpoint string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	raw, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := b.request(ctx, "$JS.API."+endpoint, raw)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if failed.Error != nil {
		return named(failed.Error)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// lastTokens returns what the subjects that a stream holds messages of end in,
// each once and sorted.
func (b *Bus) lastTokens(ctx context.Context, stream, filter string) ([]string, error) {
	var answer struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := b.api(ctx, "STREAM.INFO."+stream, map[string]string{"subjects_filter": filter}, &answer); err != nil {
		return nil, err
	}
	tokens := map[string]bool{}
	for subject := range answer.State.Subjects {
		tokens[subject[strings.LastIndexByte(subject, '.')+1:]] = true
	}
	return slices.Sorted(maps.Keys(tokens)), nil
}
