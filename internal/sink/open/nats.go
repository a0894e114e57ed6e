package open

import (
	"holdfast.io/holdfast/internal/bus/objects"
	"holdfast.io/holdfast/internal/sink/object"
)

// natsScheme is the scheme of sinks in an object store of NATS: nats://bucket/prefix.
var natsScheme = inStore(natsStore, "server", "credentialsFile", "userFile", "passwordFile", "ca", "maxBytes")

func natsStore(c Config, mayMake bool) (object.Store, error) {
	bucket, prefix, err := bucketIn(c.URL, "server")
	if err != nil {
		return nil, err
	}
	return objects.New(objects.Options{
		Bucket: bucket, Prefix: prefix, Server: c.Server, CA: c.CA, User: c.UserFile, Password: c.PasswordFile,
		Credentials: c.CredentialsFile, MaxBytes: int64(c.MaxBytes), Make: mayMake,
	})
}
