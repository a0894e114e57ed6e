package azure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"holdfast.io/holdfast/internal/sink"
)

// sweptMark is in the metadata of a blob that was only made to be removed.
const sweptMark = "holdfastswept"

// Sweep implements [object.Store]. Blocks that belong to no blob yet cannot be removed by
// themselves: see drop. Blobs of a sweep that died in between are found by their mark. Blocks of
// an upload in the place of a blob that is there are not listed; the service throws them away
// when that is replaced, or after a week.
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	for item, err := range s.items(ctx, prefix, container.ListBlobsInclude{UncommittedBlobs: true, Metadata: true}) {
		if err != nil {
			return err
		}
		switch version := versionOf(item.Properties.ETag); {
		case version == "": // there are blocks, and no blob
			err = s.drop(ctx, s.keyOf(item))
		case swept(item.Metadata):
			err = s.deleteVersion(ctx, s.keyOf(item), version)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func swept(metadata map[string]*string) bool {
	for name := range metadata { // the service may change its case
		if strings.EqualFold(name, sweptMark) {
			return true
		}
	}
	return false
}

// drop removes blocks that belong to no blob: an empty blob is made in their place, if there
// is none, which throws them away, and is removed again. Should their upload be alive, it
// cannot be committed any more; what it stores as a whole meanwhile has another version, and
// stays.
func (s *Store) drop(ctx context.Context, key string) error {
	yes := "1"
	made, err := s.blob(key).CommitBlockList(ctx, nil, &blockblob.CommitBlockListOptions{
		Metadata: map[string]*string{sweptMark: &yes}, AccessConditions: ifAbsent(),
	})
	version := versionOf(made.ETag)
	if err = s.explain(key, err); errors.Is(err, sink.ErrExists) {
		// It was committed, or the answer to the first try was lost.
		version, err = s.sweptVersion(ctx, key)
	}
	if err != nil || version == "" {
		return err
	}
	return s.deleteVersion(ctx, key, version)
}

// sweptVersion returns the version of the blob at key if that was made to be removed.
func (s *Store) sweptVersion(ctx context.Context, key string) (string, error) {
	found, err := s.blob(key).GetProperties(ctx, nil)
	if err = s.explain(key, err); err != nil {
		if errors.Is(err, sink.ErrNotFound) {
			err = nil
		}
		return "", err
	}
	if !swept(found.Metadata) {
		return "", nil
	}
	return versionOf(found.ETag), nil
}

// deleteVersion removes the blob at key unless it was replaced.
func (s *Store) deleteVersion(ctx context.Context, key, version string) error {
	err := s.delete(ctx, key, ifVersion(version))
	if answer, ok := errors.AsType[answer](err); ok && answer.code == bloberror.ConditionNotMet {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove what an upload left: %w", err)
	}
	return nil
}
