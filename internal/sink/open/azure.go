package open

import (
	"context"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/azure"
	"holdfast.io/holdfast/internal/sink/object"
)

// azureScheme is the scheme of sinks in a container of Azure: azblob://container/prefix.
var azureScheme = scheme{
	members: []string{"account", "accountKeyFile", "sasFile", "endpoint", "ca", "storageClass", "maxArtifact"},
	location: func(c Config) (string, error) {
		store, err := azureStore(c)
		if err != nil {
			return "", err
		}
		return store.Place(""), nil
	},
	open: func(ctx context.Context, c Config, _, known string) (sink.Sink, error) {
		store, err := azureStore(c)
		if err != nil {
			return nil, err
		}
		return asSink(object.Open(ctx, store, known))
	},
	existing: func(ctx context.Context, c Config, _ string) (sink.Sink, error) {
		store, err := azureStore(c)
		if err != nil {
			return nil, err
		}
		return asSink(object.OpenExisting(ctx, store))
	},
}

func azureStore(c Config) (*azure.Store, error) {
	container, prefix, err := bucketIn(c.URL, "endpoint")
	if err != nil {
		return nil, err
	}
	return azure.New(azure.Options{
		Container: container, Prefix: prefix, Account: c.Account, Endpoint: c.Endpoint, KeyFile: c.AccountKeyFile, SASFile: c.SASFile,
		CA: c.CA, Tier: c.StorageClass, MaxArtifact: int64(c.MaxArtifact),
	})
}
