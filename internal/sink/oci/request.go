package oci

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"holdfast.io/holdfast/internal/sink"
)

// doer sends requests: an [auth.Client], which tries some again, or not.
type doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// patient is the policy by which requests are tried again for about a minute.
func patient(first time.Duration) retry.Policy {
	return &retry.GenericPolicy{
		Retryable: func(r *http.Response, err error) (bool, error) { return passing(r, err), nil },
		Backoff:   retry.ExponentialBackoff(first, 2, 0.1), MaxWait: 15 * first, MaxRetry: 6,
	}
}

// passing reports whether the same request may succeed later.
func passing(r *http.Response, err error) bool {
	if err != nil {
		_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
		return !untrusted && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	switch r.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusInsufficientStorage:
		return false
	}
	return r.StatusCode >= http.StatusInternalServerError
}

// request is one request to the registry.
type request struct {
	method string
	url    *url.URL
	header map[string]string
	body   []byte
	by     doer // nil for who tries again
}

// maxError bounds what is read of an answer that says what is wrong, in bytes.
const maxError = 64 << 10

// do sends a request, and reports an *errcode.ErrorResponse for any status that is not of
// success. The caller closes the body.
func (s *Store) do(ctx context.Context, q request) (*http.Response, error) {
	r, err := http.NewRequestWithContext(s.scoped(ctx), q.method, q.url.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if q.by == nil {
		q.by = s.client
	}
	answer, err := q.by.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < http.StatusMultipleChoices {
		return answer, nil
	}
	defer answer.Body.Close()
	refused := &errcode.ErrorResponse{Method: q.method, URL: q.url, StatusCode: answer.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	if raw, err := io.ReadAll(io.LimitReader(answer.Body, maxError)); err == nil && json.Unmarshal(raw, &body) == nil {
		refused.Errors = body.Errors
	}
	return nil, refused
}

// done is do for answers of which only the header counts.
func (s *Store) done(ctx context.Context, q request) (http.Header, error) {
	answer, err := s.do(ctx, q)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxError)) // the connection can be used again then
	return answer.Header, answer.Body.Close()
}

// at returns the URL of something in the repository.
func (s *Store) at(path ...string) *url.URL {
	return s.base.JoinPath(path...)
}

// dateOf returns when an answer was made, by the clock of the registry.
func dateOf(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t
}

// answered is what the registry refused with. The text of the client's own error has the URL,
// which may hold what an upload is continued with.
type answered struct{ *errcode.ErrorResponse }

func (a answered) Error() string {
	text := fmt.Sprintf("the registry answers %d %s", a.StatusCode, http.StatusText(a.StatusCode))
	for _, e := range a.Errors {
		text += ": " + e.Code
		if e.Message != "" {
			text += " (" + e.Message + ")"
		}
	}
	return text
}

func statusOf(err error) int {
	if refused, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return refused.StatusCode
	}
	return 0
}

// hasCode reports whether the registry gave one of these codes as its reason.
func hasCode(err error, codes ...string) bool {
	refused, ok := errors.AsType[*errcode.ErrorResponse](err)
	if !ok {
		return false
	}
	for _, e := range refused.Errors {
		for _, code := range codes {
			if e.Code == code {
				return true
			}
		}
	}
	return false
}

func notFound(err error) bool {
	return errors.Is(err, errdef.ErrNotFound) || statusOf(err) == http.StatusNotFound
}

// explain completes an error with the place, and, where the port has a name for it, with
// that and the remedy. Its errors hold no secret.
func (s *Store) explain(key string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	place := s.Place(key)
	refused, ok := errors.AsType[*errcode.ErrorResponse](err)
	a := answered{refused}
	switch {
	case errors.Is(err, errCredentials):
		return fmt.Errorf("%s: %w: %w", place, sink.ErrUnavailable, err)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s: %w: the registry asks for credentials, and there are none for it; set userFile and passwordFile, or "+
			"credentialsFile, or log in with docker login", place, sink.ErrUnavailable)
	case notFound(err) && (!ok || !hasCode(err, errcode.ErrorCodeManifestBlobUnknown, errcode.ErrorCodeBlobUploadUnknown)):
		return fmt.Errorf("%s: %w", place, sink.ErrNotFound)
	case !ok:
		return fmt.Errorf("%s: %w: it does not answer; look at the registry and the way to it: %w", place, sink.ErrUnavailable, withoutURL(err))
	case a.StatusCode == http.StatusInsufficientStorage, hasCode(err, "TOOMANYREQUESTS_QUOTA", "QUOTA_EXCEEDED"):
		return fmt.Errorf("%s: %w; make room there, or use another sink: %w", place, sink.ErrFull, a)
	case a.StatusCode == http.StatusUnauthorized, a.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %w: the registry does not let these credentials do that; look at userFile and passwordFile, or at "+
			"credentialsFile, and at what the account may do with the repository: %w", place, sink.ErrUnavailable, a)
	case a.StatusCode >= http.StatusInternalServerError, a.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%s: %w: it fails, or is busy; look at the registry, and try again later: %w", place, sink.ErrUnavailable, a)
	case hasCode(err, errcode.ErrorCodeManifestBlobUnknown, errcode.ErrorCodeBlobUploadUnknown, errcode.ErrorCodeBlobUploadInvalid,
		"RANGE_INVALID"):
		return fmt.Errorf("%s: %w: the registry no longer has what was sent; retry: %w", place, sink.ErrUnavailable, a)
	}
	return fmt.Errorf("%s: %w", place, a)
}

// mayNotRemove is explain, for what was to be removed.
func (s *Store) mayNotRemove(key string, err error) error {
	if unsupported(err) || statusOf(err) == http.StatusForbidden || statusOf(err) == http.StatusUnauthorized {
		refused, _ := errors.AsType[*errcode.ErrorResponse](err)
		return fmt.Errorf("%s: %w; the registry may have to be told to allow it: %w", s.Place(key), sink.ErrMayNotRemove, answered{refused})
	}
	return s.explain(key, err)
}

// withoutURL returns the cause of an error, which is long enough without the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
