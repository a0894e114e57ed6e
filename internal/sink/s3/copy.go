package s3

import (
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

var _ object.Copier = (*Store)(nil)

// Copy implements [object.Copier]. The service copies by itself, in parts what is larger
// than it copies at once.
func (s *Store) Copy(ctx context.Context, from, to string, size int64) error {
	dst := minio.CopyDestOptions{Bucket: s.options.Bucket, Object: s.prefix + to, Encryption: s.sse}
	if s.options.StorageClass != "" {
		dst.ReplaceMetadata, dst.UserMetadata = true, map[string]string{"x-amz-storage-class": s.options.StorageClass}
	}
	if from == to { // a service wants a reason for that
		dst.ReplaceMetadata, dst.ContentType = true, s.putOptions().ContentType
	}
	var copied minio.UploadInfo
	err := retryConflicts(ctx, func() (err error) {
		copied, err = s.core.ComposeObject(ctx, dst, minio.CopySrcOptions{Bucket: s.options.Bucket, Object: s.prefix + from})
		return err
	})
	if err != nil {
		return s.explain(to, err)
	}
	if copied.Size != 0 && copied.Size != size { // not every answer says it
		return fmt.Errorf("%s: %w: the copy has %d bytes instead of %d", s.Place(to), sink.ErrUnavailable, copied.Size, size)
	}
	return nil
}
