package azure

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/parts"
)

const (
	// maxBlocks is how many blocks a blob may have.
	maxBlocks = 50_000
	// DefaultMaxArtifact is how large an artifact of unknown size may become: as many
	// blocks as there may be, of the least size.
	DefaultMaxArtifact = maxBlocks * parts.Min
)

// blockSize returns the size of the blocks of an artifact of at most so many bytes, see
// [sink.Staging].
func (o Options) blockSize(most int64) int64 {
	if most <= 0 {
		most = cmp.Or(o.MaxArtifact, DefaultMaxArtifact)
	}
	return parts.Size(most, maxBlocks)
}

// upload is a blob that is sent in blocks. What fits into one is sent as a whole.
type upload struct {
	*parts.Writer
	store *Store
	key   string
	// id begins the names of the blocks. It is the upload's own: what is committed is never
	// of another one, which may have swept this one and sent its own.
	id string
}

// Requests implements [object.Billed]: one for what fits into a block; else one for each block,
// and one that makes a blob of them.
func (s *Store) Requests(size int64) int64 {
	block := s.options.blockSize(size)
	if size < block {
		return 1
	}
	return (size+block-1)/block + 1
}

// Begin implements [object.Store].
func (s *Store) Begin(ctx context.Context, key string, most int64) (object.Upload, error) {
	u, size := &upload{store: s, key: key, id: rand.Text()}, s.options.blockSize(most)
	u.Writer = parts.New(ctx, parts.Options{
		Size: size, Max: maxBlocks, Large: most > size, Place: s.Place(key), Send: u.sendBlock,
	})
	return u, nil
}

// block returns the name of a block. All have one length, as the service asks for.
func (u *upload) block(number int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d", u.id, number))
}

func (u *upload) sendBlock(ctx context.Context, number int, content []byte) error {
	err := send(content, func(r io.ReadSeekCloser, sum blob.TransferValidationType) error {
		_, err := u.store.blob(u.key).StageBlock(ctx, u.block(number), r, &blockblob.StageBlockOptions{TransactionalValidation: sum})
		return err
	})
	return u.because(err)
}

// because explains an error, unless that is only the end of ctx: the first reason counts.
func (u *upload) because(err error) error {
	if err == nil {
		return nil
	}
	if cause := u.Err(); cause != nil {
		return cause
	}
	if bloberror.HasCode(err, bloberror.InvalidBlockList) {
		return fmt.Errorf("%s: %w: the upload was removed, perhaps by another process; retry", u.store.Place(u.key), sink.ErrUnavailable)
	}
	return u.store.explain(u.key, err)
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	return u.Writer.Commit(func(ctx context.Context, content []byte) error { return u.store.Put(ctx, u.key, content) }, u.join)
}

// join makes a blob of the blocks. A second try, when the answer to the first was lost, finds
// the blocks in the blob, and says the same.
func (u *upload) join() error {
	names := make([]string, u.Count())
	for i := range names {
		names[i] = u.block(i + 1)
	}
	_, err := u.store.blob(u.key).CommitBlockList(u.Context(), names, &blockblob.CommitBlockListOptions{Tier: u.store.tier})
	return u.because(err)
}

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.Close()
	if u.Count() > 0 {
		if err := u.store.drop(ctx, u.key); err != nil {
			return err
		}
	}
	if !u.Tried() {
		return nil
	}
	return u.store.Delete(ctx, u.key)
}
