package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// API asks the server's JetStream API, where the library's own way would take
// more exchanges or permissions.
func (b *Bus) API(ctx context.Context, endpoint string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, AttemptTimeout)
	defer cancel()
	raw, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := b.Request(ctx, "$JS.API."+endpoint, raw)
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
		return Named(failed.Error)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// Subjects returns the subjects that a stream holds messages of, each once and
// sorted. It costs one exchange with the server for each 100,000 of them.
func (b *Bus) Subjects(ctx context.Context, stream, filter string) ([]string, error) {
	var all []string
	for {
		var page struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		question := struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset"`
		}{filter, len(all)}
		if err := b.API(ctx, "STREAM.INFO."+stream, question, &page); err != nil {
			return nil, err
		}
		all = slices.AppendSeq(all, maps.Keys(page.State.Subjects))
		if len(page.State.Subjects) == 0 || len(all) >= page.Total {
			slices.Sort(all)
			return slices.Compact(all), nil
		}
	}
}
