package docker

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"unicode"

	"holdfast.io/holdfast/internal/engine"
)

// awayError is an answer that is not the Engine's and refuses nothing: of a proxy
// that cannot ask the Engine now, or of whatever fails in its place.
type awayError struct{ method, path, status, message string }

func (e *awayError) Error() string {
	text := e.method + " " + e.path + " is answered " + e.status + ", which is not the Engine's own answer"
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// TLSError is a connection that TLS refused: on either side, or because there was none.
type TLSError struct{ cause string }

func (e *TLSError) Error() string {
	return e.cause + ": the certificates are those of DOCKER_CERT_PATH with DOCKER_TLS_VERIFY=1, or of the docker context"
}

// tlsFailure returns a failed connection as a [TLSError], if that is what it is.
func tlsFailure(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok || strings.Contains(err.Error(), "remote error: tls: ") {
		return &TLSError{brief(err.Error())}
	}
	return err
}

// wantsTLS is what a program of Go answers to a request without TLS.
const wantsTLS = "Client sent an HTTP request to an HTTPS server."

// answers tells what the Engine answers from what somebody before it does: socket
// proxies and authorization plugins refuse calls, each in its own way. The Docker
// client takes their pages for messages of the Engine, and a proxy's 404 for a
// container that is not there.
type answers struct {
	next    http.RoundTripper
	refused func() // is called when a call was refused
}

// RoundTrip implements [http.RoundTripper]. What was refused is an error,
// [*engine.RefusedError]. A message of the Engine itself is passed on, bounded.
func (a *answers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := a.next.RoundTrip(req)
	switch {
	case err != nil:
		return nil, tlsFailure(err)
	case req.Method == http.MethodHead: // has no body; the client asks again with GET
		return resp, nil
	case resp.StatusCode < http.StatusMultipleChoices && !isPage(resp), resp.StatusCode == http.StatusNotModified,
		resp.StatusCode == http.StatusSwitchingProtocols:
		if opened, ok := req.Context().Value(openedKey{}).(*atomic.Bool); ok {
			opened.Store(true)
		}
		return resp, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	message, own := ownMessage(resp, body)
	switch {
	case resp.StatusCode == http.StatusBadRequest && message == wantsTLS:
		return nil, &TLSError{"it takes connections with TLS only"}
	case own && !refuses(resp.StatusCode, message):
		return withMessage(resp, message), nil
	case resp.StatusCode >= http.StatusInternalServerError, resp.StatusCode == http.StatusTooManyRequests:
		// Whoever refuses says so; this one could not answer.
		return nil, &awayError{req.Method, reference(req.Method, req.URL.Path), brief(resp.Status), message}
	}
	a.refused()
	return nil, &engine.RefusedError{Method: req.Method, Path: reference(req.Method, req.URL.Path), Status: resp.StatusCode, Answer: message}
}

type openedKey struct{}

// withOpened returns what is set when a request with this context was answered
// well. The client's stream of events does not tell that.
func withOpened(ctx context.Context) (context.Context, *atomic.Bool) {
	opened := new(atomic.Bool)
	return context.WithValue(ctx, openedKey{}, opened), opened
}

// maxAnswer is how much of an answer is read that is no success, maxMessage how
// much of it is passed on, both in bytes. The Engine puts names and paths of any
// length into its messages.
const (
	maxAnswer  = 64 << 10
	maxMessage = 300
)

// ownMessage returns what an answer says, in one line. It is the Engine's own if
// it has the Engine's form.
func ownMessage(resp *http.Response, body []byte) (message string, own bool) {
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		return brief(answer.Message), true
	}
	// So Engine 20.10 answers in place of a stream.
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/vnd.docker.raw-stream" {
		return brief(string(body)), true
	}
	if isPage(resp) || bytes.Contains(body, []byte("<")) {
		return "", false // the page of a proxy says nothing that the status does not
	}
	return brief(string(body)), false
}

// refuses reports whether an answer in the Engine's own form says that the call was
// not carried out because nobody allows it, or that there is no such call. The texts
// are those of moby's pkg/authorization and of its router.
func refuses(status int, message string) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return true
	case http.StatusNotFound:
		return message == "page not found"
	}
	return strings.HasPrefix(message, "authorization denied by plugin ")
}

func isPage(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return kind == "text/html"
}

// withMessage is the answer with only this message in it.
func withMessage(resp *http.Response, message string) *http.Response {
	body, _ := json.Marshal(map[string]string{"message": message}) // strings can always be encoded
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Del("Content-Length")
	resp.ContentLength = int64(len(body))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// brief makes a text fit to be shown: one line without control characters, at
// most maxMessage bytes.
func brief(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if len(text) <= maxMessage {
		return text
	}
	// The Engine says last what was wrong, after paths and names.
	head, tail := text[:maxMessage/2], text[len(text)-maxMessage/2+len("…"):]
	return strings.ToValidUTF8(head, "") + "…" + strings.ToValidUTF8(tail, "")
}

var versionPrefix = regexp.MustCompile(`^.*?/v[0-9]+\.[0-9]+/`)

var (
	idInPath  = regexp.MustCompile(`/[0-9a-f]{64}(/|$)`)
	imagePath = regexp.MustCompile(`^/(images|distribution)/.+/(json|push)$`)
	// A network can be called by its name.
	networkPath = regexp.MustCompile(`^/networks/[^/]+/(connect|disconnect)$`)
	volumePath  = regexp.MustCompile(`^/volumes/.+$`)
)

// reference is the path of a call as the API's reference has it, and the manual.
func reference(method, path string) string {
	path = idInPath.ReplaceAllString(versionPrefix.ReplaceAllString(path, "/"), "/{id}$1")
	switch {
	case imagePath.MatchString(path):
		return imagePath.ReplaceAllString(path, "/$1/{name}/$2")
	case method == http.MethodDelete && strings.HasPrefix(path, "/images/"):
		return "/images/{name}"
	case networkPath.MatchString(path):
		return networkPath.ReplaceAllString(path, "/networks/{id}/$1")
	case method != http.MethodPost && volumePath.MatchString(path):
		return "/volumes/{name}"
	}
	return brief(path)
}
