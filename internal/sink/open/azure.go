package open

import (
	"holdfast.io/holdfast/internal/sink/azure"
	"holdfast.io/holdfast/internal/sink/object"
)

// azureScheme is the scheme of sinks in a container of Azure: azblob://container/prefix.
var azureScheme = inStore(azureStore, "account", "accountKeyFile", "sasFile", "endpoint", "ca", "storageClass", "maxArtifact")

func azureStore(c Config, _ bool) (object.Store, error) {
	container, prefix, err := bucketIn(c.URL, "endpoint")
	if err != nil {
		return nil, err
	}
	return azure.New(azure.Options{
		Container: container, Prefix: prefix, Account: c.Account, Endpoint: c.Endpoint, KeyFile: c.AccountKeyFile, SASFile: c.SASFile,
		CA: c.CA, Tier: c.StorageClass, MaxArtifact: int64(c.MaxArtifact),
	})
}
