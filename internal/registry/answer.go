package registry

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// refusal is an answer that is no success, in the form that daemons show to people.
// None is 5xx: a daemon repeats what is answered so, the classic one five times over
// 50 s, and a receiver that can go on after a failure repeats by itself.
type refusal struct {
	status  int
	code    string // of the protocol
	message string
}

func (r *refusal) Error() string { return r.message }

var (
	unauthorized    = &refusal{http.StatusUnauthorized, "UNAUTHORIZED", "credentials are needed"}
	unknownName     = &refusal{http.StatusNotFound, "NAME_UNKNOWN", "nothing under this name is going on"}
	unknownBlob     = &refusal{http.StatusNotFound, "BLOB_UNKNOWN", "the blob has to be sent"}
	unknownUpload   = &refusal{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; one that broke off is begun anew"}
	unknownManifest = &refusal{http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no such manifest"}
	unsupported     = &refusal{http.StatusNotFound, "UNSUPPORTED", "this registry takes and gives single images, and does nothing else"}
	methodRefused   = &refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", unsupported.message}
)

// denied is the answer after which a daemon gives up, of any version and store.
func denied(message string) *refusal { return &refusal{http.StatusForbidden, "DENIED", message} }

// invalid is the answer to what a daemon has done wrong.
func invalid(code, message string) *refusal { return &refusal{http.StatusBadRequest, code, message} }

// maxMessage is how much of an error's text is passed on, in bytes.
const maxMessage = 1000

func (r *refusal) write(w http.ResponseWriter) {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]fault{"errors": {{r.code, line(r.message)}}}) // strings can always be encoded
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // or it would be whole only when the request is
	w.WriteHeader(r.status)
	_, _ = w.Write(body) // whoever asked may have gone
}

// lingerBound bounds how long a daemon that is still sending has to read an answer.
const lingerBound = time.Second

// writeBeforeEnd answers a request whose body has not come to its end. It goes on taking
// that for a moment: a connection that is closed on somebody who sends is reset, and
// the answer lost with it.
func (r *refusal) writeBeforeEnd(w http.ResponseWriter, req *http.Request) {
	c := http.NewResponseController(w)
	_ = errors.Join(c.EnableFullDuplex(), c.SetReadDeadline(time.Now().Add(lingerBound))) // the server's own always can
	r.write(w)
	_ = c.Flush()
	_, _ = io.Copy(io.Discard, req.Body)
}

// line makes a text one line without control characters, at most maxMessage bytes.
func line(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) > maxMessage {
		text = text[:maxMessage-len("…")] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
