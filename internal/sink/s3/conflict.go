package s3

import (
	"context"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// maxConflicts is how often a service may answer that a request conflicts with another
	// one: it is asked for about two seconds.
	maxConflicts = 10
	// conflictPause is how long is waited after the first conflict.
	conflictPause = 20 * time.Millisecond
)

// retryConflicts makes a request again which the service refuses because of one that it
// serves at the same time. Amazon does so while another one creates the object, and may
// still fail. A gateway before a file system does so while another one removes the last
// object of a folder, and with it the folder into which this one goes (versitygw 1.8.0:
// ExistingObjectIsDirectory). It returns the service's last answer.
func retryConflicts(ctx context.Context, request func() error) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval = conflictPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := request()
		if err != nil && statusOf(err) != http.StatusConflict {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(maxConflicts))
	return err
}
