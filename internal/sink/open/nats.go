package open

import (
	"context"

	"holdfast.io/holdfast/internal/bus/objects"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// natsScheme is the scheme of sinks in an object store of NATS: nats://bucket/prefix.
var natsScheme = scheme{
	members: []string{"server", "credentialsFile", "userFile", "passwordFile", "ca", "maxBytes"},
	location: func(c Config) (string, error) {
		o, err := natsOptions(c)
		if err == nil {
			_, err = objects.New(o)
		}
		return objects.Place(o), err
	},
	open: func(ctx context.Context, c Config, _, known string) (sink.Sink, error) {
		return natsSink(ctx, c, true, func(store object.Store) (*object.Sink, error) { return object.Open(ctx, store, known) })
	},
	existing: func(ctx context.Context, c Config, _ string) (sink.Sink, error) {
		return natsSink(ctx, c, false, func(store object.Store) (*object.Sink, error) { return object.OpenExisting(ctx, store) })
	},
}

func natsOptions(c Config) (objects.Options, error) {
	bucket, prefix, err := bucketIn(c.URL, "server")
	return objects.Options{
		Bucket: bucket, Prefix: prefix, Server: c.Server, CA: c.CA, User: c.UserFile, Password: c.PasswordFile,
		Credentials: c.CredentialsFile, MaxBytes: int64(c.MaxBytes),
	}, err
}

// natsSink opens a sink. One in a bucket with a cap knows how much room it has.
func natsSink(ctx context.Context, c Config, mayMake bool, open func(object.Store) (*object.Sink, error)) (sink.Sink, error) {
	o, err := natsOptions(c)
	if err != nil {
		return nil, err
	}
	o.Make = mayMake
	store, err := objects.New(o)
	if err != nil {
		return nil, err
	}
	opened, err := open(store)
	if err != nil {
		_ = store.Close() // what counts is why it cannot be opened
		return nil, err
	}
	if tells, err := store.TellsFree(ctx); err != nil || !tells {
		return asSink(opened, err)
	}
	return spacious{opened, store}, nil
}
