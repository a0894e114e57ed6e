package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
)

// remedies are what to do about what a service refuses, by the code of its answer.
var remedies = map[string]string{
	minio.NoSuchBucket:      "there is no such bucket; make it, or correct the sink's url",
	minio.AccessDenied:      "these credentials may not do that; look at the policies of the user and of the bucket",
	"InvalidAccessKeyId":    "the service does not know these credentials",
	"SignatureDoesNotMatch": "the secret key is wrong, or a proxy on the way changes requests",
	"ExpiredToken":          "the credentials have expired; renew them",
	"ExpiredTokenException": "the credentials have expired; renew them",
	"RequestTimeTooSkewed":  "the clocks of this machine and of the service differ by more than 15 minutes; set them",
	"InvalidObjectState":    "the object is in an archive; restore it from there first",
	"PermanentRedirect":     "the bucket is in another region, or has another endpoint; set region or endpoint",
}

// full are the codes of a service that has no room.
var full = map[string]bool{
	"QuotaExceeded": true, "XMinioStorageFull": true, "XMinioAdminBucketQuotaExceeded": true, "InsufficientStorage": true,
	"StorageFull": true, "NoSpaceLeftOnDevice": true,
}

// statusOf returns the HTTP status of the answer that err is of, or 0.
func statusOf(err error) int {
	answer, _ := errors.AsType[minio.ErrorResponse](err)
	return answer.StatusCode
}

// mayNotRemove is explain, for what was to be removed.
func (s *Store) mayNotRemove(key string, err error) error {
	answer, _ := errors.AsType[minio.ErrorResponse](err)
	if answer.Code == minio.AccessDenied || answer.StatusCode == http.StatusForbidden && remedies[answer.Code] == "" && !full[answer.Code] {
		return fmt.Errorf("%s: %w; look at the policies of the user and of the bucket, and for a legal hold: %w",
			s.Place(key), sink.ErrMayNotRemove, err)
	}
	return s.explain(key, err)
}

// explain completes an error with the place, and, where the port has a name for it, with
// that and the remedy. Errors of minio hold no secret.
func (s *Store) explain(key string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	place := s.Place(key)
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case !ok, answer.StatusCode >= http.StatusInternalServerError && answer.StatusCode != http.StatusNotImplemented && !full[answer.Code] &&
		answer.StatusCode != http.StatusInsufficientStorage:
		return fmt.Errorf("%s: %w: it does not answer; look at the service and the way to it: %w", place, sink.ErrUnavailable, err)
	case full[answer.Code], answer.StatusCode == http.StatusInsufficientStorage:
		return fmt.Errorf("%s: %w; make room there, or use another sink: %w", place, sink.ErrFull, err)
	case remedies[answer.Code] != "":
		return fmt.Errorf("%s: %w: %s: %w", place, sink.ErrUnavailable, remedies[answer.Code], err)
	case answer.StatusCode == http.StatusNotFound: // the key, or an upload
		return fmt.Errorf("%s: %w", place, sink.ErrNotFound)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: %s: %w", place, sink.ErrUnavailable, remedies[minio.AccessDenied], err)
	}
	return fmt.Errorf("%s: %w", place, err)
}
