package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"holdfast.io/holdfast/internal/sink"
)

// denied is the remedy where the service knows the credentials.
const denied = "these credentials may not do that; look at the permissions of the SAS, and at the firewall of the account"

// remedies are what to do about what a service refuses, by the code of its answer.
var remedies = map[bloberror.Code]string{
	bloberror.ContainerNotFound:     "there is no such container; make it, or correct the sink's url",
	bloberror.ContainerBeingDeleted: "the container is being deleted; make it again, or correct the sink's url",
	bloberror.ContainerDisabled:     "the container is disabled; enable it",
	bloberror.InvalidResourceName:   "there can be no container of that name; correct the sink's url",
	bloberror.AuthenticationFailed: "the key or the SAS is wrong, or the SAS has expired, or the clock of this machine is wrong; " +
		"renew the credentials, or set the clock",
	bloberror.InvalidAuthenticationInfo:       "the key or the SAS is not in the form that it is given out in",
	bloberror.NoAuthenticationInformation:     "the service was given no credentials; set accountKeyFile or sasFile",
	bloberror.AuthorizationFailure:            denied,
	bloberror.AuthorizationPermissionMismatch: denied,
	bloberror.InsufficientAccountPermissions:  denied,
	bloberror.AuthorizationSourceIPMismatch:   "the SAS is not for the address of this machine",
	bloberror.AuthorizationProtocolMismatch:   "the SAS is for https alone; correct the endpoint",
	bloberror.AuthorizationServiceMismatch:    "the SAS is not for blobs",
	bloberror.AuthorizationResourceTypeMismatch: "the SAS is for other types of resources; " +
		"it must be for the container and its objects",
	"KeyBasedAuthenticationNotPermitted": "the account takes no keys; allow them, or use sasFile with a SAS of a user's delegation",
	bloberror.AccountIsDisabled:          "the account is disabled; look at its subscription",
	bloberror.BlobArchived:               "the blob is in the archive tier; bring it back from there first",
	bloberror.BlobBeingRehydrated:        "the blob is on its way out of the archive tier; wait for it",
	bloberror.BlobImmutableDueToPolicy:   "a policy of the container keeps it unchanged; wait until that ends",
	bloberror.InvalidBlobTier:            "the account does not have that tier; correct storageClass",
}

// answer is what the service refused with. The text of the client's own error has lines of
// headers and XML.
type answer struct {
	status int
	code   bloberror.Code
}

func (a answer) Error() string {
	return fmt.Sprintf("the service answers %d %s", a.status, a.code)
}

// explain completes an error with the place, and, where the port has a name for it, with
// that and the remedy. Its errors hold no secret.
func (s *Store) explain(key string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	place := s.Place(key)
	if errors.Is(err, errCredentials) {
		return fmt.Errorf("%s: %w: %w", place, sink.ErrUnavailable, err)
	}
	response, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return fmt.Errorf("%s: %w: it does not answer; look at the service and the way to it: %w", place, sink.ErrUnavailable, withoutURL(err))
	}
	a := answer{response.StatusCode, bloberror.Code(response.ErrorCode)}
	switch {
	case a.code == bloberror.BlobAlreadyExists:
		return fmt.Errorf("%s: %w", place, sink.ErrExists)
	case remedies[a.code] != "":
		return fmt.Errorf("%s: %w: %s: %w", place, sink.ErrUnavailable, remedies[a.code], a)
	case a.status == http.StatusInsufficientStorage:
		return fmt.Errorf("%s: %w; make room there, or use another sink: %w", place, sink.ErrFull, a)
	case a.status == http.StatusNotFound:
		return fmt.Errorf("%s: %w", place, sink.ErrNotFound)
	case a.status == http.StatusForbidden, a.status == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: %s: %w", place, sink.ErrUnavailable, denied, a)
	case a.status >= http.StatusInternalServerError:
		return fmt.Errorf("%s: %w: it fails, or is busy; look at the service, and try again later: %w", place, sink.ErrUnavailable, a)
	}
	return fmt.Errorf("%s: %w", place, a)
}

// withoutURL returns the cause of an error, which is long enough without the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
