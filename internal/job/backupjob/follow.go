package backupjob

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// PruneAfter is what the configuration has removed after every backup: of what was
// backed up, all that Keep does not keep.
type PruneAfter struct {
	Keep events.Keep
	// Grace is a Go duration.
	Grace string
}

// maxFollowNames is how many names one request has at most, by its schema.
const maxFollowNames = 1000

// Follow implements [job.Follower]: a prune follows, of what the job has stored.
func (s *spec) Follow(job string, outcomes []events.ItemOutcome) ([]events.Message, error) {
	if s.kind.PruneAfter == nil {
		return nil, nil
	}
	var requests []events.Message
	for _, sink := range s.data.AllSinks() {
		of, err := s.followIn(sink, job, outcomes)
		if err != nil {
			return nil, err
		}
		requests = append(requests, of...)
	}
	return requests, nil
}

// followIn makes the requests to prune what the job has stored in one sink.
func (s *spec) followIn(sink, job string, outcomes []events.ItemOutcome) (requests []events.Message, err error) {
	names := map[events.ItemKind][]string{}
	for _, o := range outcomes {
		if o.Status == events.OutcomeCompleted && cmp.Or(o.Sink, sink) == sink && !slices.Contains(names[o.Item.Kind], o.Item.Name) {
			names[o.Item.Kind] = append(names[o.Item.Kind], o.Item.Name)
		}
	}
	id := job + "-prune"
	if len(s.data.Sinks) > 1 {
		id += "-" + sink
	}
	for _, kind := range []events.ItemKind{events.ItemContainer, events.ItemImage, events.ItemVolume} {
		slices.Sort(names[kind])
		n := 0
		for part := range slices.Chunk(names[kind], maxFollowNames) {
			m, err := s.prune(fmt.Sprintf("%s-%s-%d", id, kind, n), sink, kind, part)
			if err != nil {
				return nil, err
			}
			requests, n = append(requests, m), n+1
		}
	}
	return requests, nil
}

// prune makes the request to prune things of a kind of this host in a sink.
func (s *spec) prune(id, sink string, kind events.ItemKind, names []string) (events.Message, error) {
	k, of := s.kind, &events.ItemSelector{Names: names}
	r := events.PruneRequest{Sink: sink, Hosts: []string{k.Host}, Keep: k.PruneAfter.Keep, Grace: k.PruneAfter.Grace}
	switch kind {
	case events.ItemContainer:
		r.Containers = of
	case events.ItemImage:
		r.Images = of
	case events.ItemVolume:
		r.Volumes = of
	case events.ItemPoint: // no backup stores one
	}
	ev := event.New()
	ev.SetID(id)
	ev.SetSource("/holdfast/" + k.Host)
	ev.SetType(events.Prune.RequestType())
	ev.SetExtension(events.ExtCorrelationID, events.CorrelationID(s.request.Event))
	if err := ev.SetData(event.ApplicationJSON, r); err != nil {
		return events.Message{}, fmt.Errorf("encode the request %s: %w", id, err)
	}
	return events.NewMessage(events.HostSubject(events.Prune, k.Host), ev)
}
