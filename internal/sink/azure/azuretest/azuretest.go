// Package azuretest is a server for tests that speaks what package azure uses of Azure's Blob
// Storage, in memory, as its documentation says. It is not that service: what this does
// shows nothing of what Azure does beyond its documentation.
package azuretest

import (
	"crypto/md5" //nolint:gosec // Content-MD5 is what the service compares
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The account, and its key.
const (
	Account = "teststore"
	Key     = "dGhlIGtleSBvZiBhIHRlc3QsIHdoaWNoIGlzIG5vIHNlY3JldA=="
)

// maxPage is how many blobs a listing has in one answer.
const maxPage = 10

// Server is the service. URL is the endpoint of the account.
type Server struct {
	URL string
	// Skew is by how much its clock is ahead of this machine's; it is set before it is used.
	Skew time.Duration

	mu         sync.Mutex // guards what follows
	containers map[string]map[string]*blob
	shared     map[string]grant // by signature
	version    int
}

// grant is what a shared access signature allows.
type grant struct {
	permissions string
	expires     time.Time
}

// blob is a blob, or blocks of which there is none yet.
type blob struct {
	there     bool
	content   []byte
	version   string
	modified  time.Time
	metadata  http.Header
	tier      string
	committed map[string][]byte // blocks, by id
	staged    map[string][]byte
}

// Start runs a server, which ends with the test. Requests go to front, which may answer them
// in its place.
func Start(t testing.TB, front func(service http.Handler) http.Handler) *Server {
	t.Helper()
	s := &Server{containers: map[string]map[string]*blob{}, shared: map[string]grant{}}
	handler := http.Handler(s)
	if front != nil {
		handler = front(s)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/" + Account
	return s
}

// Create makes a container.
func (s *Server) Create(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[container] = map[string]*blob{}
}

// Remove removes a container.
func (s *Server) Remove(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, container)
}

// Contents returns every blob of a container by its name, and what has only blocks.
func (s *Server) Contents(container string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for name, b := range s.containers[container] {
		if b.there {
			all[name] = string(b.content)
		} else {
			all[name+" (blocks)"] = ""
		}
	}
	return all
}

// Tier returns the access tier that a blob was given.
func (s *Server) Tier(container, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.containers[container][name]; b != nil {
		return b.tier
	}
	return ""
}

// SAS returns a shared access signature that allows what the letters of permissions say.
func (s *Server) SAS(permissions string, expires time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	signature := rand.Text()
	s.shared[signature] = grant{permissions, expires}
	return url.Values{
		"sv": {"2025-01-05"}, "sr": {"c"}, "sp": {permissions}, "se": {expires.UTC().Format(time.RFC3339)}, "sig": {signature},
	}.Encode()
}

// Refuse answers as the service does.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>by the test</Message></Error>`, code)
}

// refusal is an answer that refuses.
type refusal struct {
	status int
	code   string
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	var asked []byte // of a blob
	if no := s.serve(w, r, content, &asked); no != nil {
		Refuse(w, no.status, no.code)
		return
	}
	_, _ = w.Write(asked) // without the lock, as a client may be slow
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, content []byte, asked *[]byte) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if no := s.allow(r); no != nil {
		return no
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/"+Account+"/")
	if !ok {
		return &refusal{http.StatusBadRequest, "InvalidUri"}
	}
	container, name, _ := strings.Cut(path, "/")
	blobs, ok := s.containers[container]
	if !ok {
		return &refusal{http.StatusNotFound, "ContainerNotFound"}
	}
	if sum := md5.Sum(content); !matches(r.Header.Get("Content-MD5"), sum[:]) { //nolint:gosec // see the import
		return &refusal{http.StatusBadRequest, "Md5Mismatch"}
	}
	switch operation := r.Method + " " + r.URL.Query().Get("comp"); {
	case operation == "GET list" && name == "":
		return list(w, r.URL.Query(), blobs)
	case operation == "PUT ":
		return s.put(w, r, blobs, name, content)
	case operation == "PUT block":
		return stage(w, r.URL.Query().Get("blockid"), blobs, name, content)
	case operation == "PUT blocklist":
		return s.commit(w, r, blobs, name, content)
	case operation == "GET ", operation == "HEAD ":
		return read(w, r, blobs[name], asked)
	case operation == "DELETE ":
		return remove(w, r, blobs, name)
	}
	return &refusal{http.StatusBadRequest, "UnsupportedHttpVerb"}
}

func matches(header string, sum []byte) bool {
	return header == "" || header == base64.StdEncoding.EncodeToString(sum)
}

// condition holds a request's conditions against what is there.
func condition(r *http.Request, b *blob) *refusal {
	there := b != nil && b.there
	if r.Header.Get("If-None-Match") == "*" && there {
		return &refusal{http.StatusConflict, "BlobAlreadyExists"}
	}
	if want := r.Header.Get("If-Match"); want != "" && (!there || want != `"`+b.version+`"`) {
		return &refusal{http.StatusPreconditionFailed, "ConditionNotMet"}
	}
	return nil
}

// store puts a blob in the place of what is there, and throws staged blocks away.
func (s *Server) store(w http.ResponseWriter, r *http.Request, blobs map[string]*blob, name string, b *blob) {
	s.version++
	b.modified = time.Now().Add(s.Skew)
	b.there, b.version, b.tier, b.metadata = true, fmt.Sprintf("0x8D%012X", s.version), r.Header.Get("X-Ms-Access-Tier"), http.Header{}
	for key, values := range r.Header {
		if strings.HasPrefix(key, "X-Ms-Meta-") {
			b.metadata[key] = values
		}
	}
	blobs[name] = b
	w.Header().Set("ETag", `"`+b.version+`"`)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, blobs map[string]*blob, name string, content []byte) *refusal {
	if no := condition(r, blobs[name]); no != nil {
		return no
	}
	s.store(w, r, blobs, name, &blob{content: content})
	return nil
}

func stage(w http.ResponseWriter, id string, blobs map[string]*blob, name string, content []byte) *refusal {
	if raw, err := base64.StdEncoding.DecodeString(id); err != nil || len(raw) == 0 || len(raw) > 64 {
		return &refusal{http.StatusBadRequest, "InvalidQueryParameterValue"}
	}
	if blobs[name] == nil {
		blobs[name] = &blob{}
	}
	b := blobs[name]
	for other := range b.staged {
		if len(other) != len(id) {
			return &refusal{http.StatusBadRequest, "InvalidBlobOrBlock"}
		}
	}
	if b.staged == nil {
		b.staged = map[string][]byte{}
	}
	b.staged[id] = content
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) commit(w http.ResponseWriter, r *http.Request, blobs map[string]*blob, name string, content []byte) *refusal {
	var wanted struct {
		Latest []string `xml:"Latest"`
	}
	if err := xml.Unmarshal(content, &wanted); err != nil {
		return &refusal{http.StatusBadRequest, "InvalidXmlDocument"}
	}
	old := blobs[name]
	if no := condition(r, old); no != nil {
		return no
	}
	made := &blob{committed: map[string][]byte{}}
	for _, id := range wanted.Latest {
		var block []byte
		found := false
		if old != nil {
			if block, found = old.staged[id]; !found {
				block, found = old.committed[id]
			}
		}
		if !found {
			return &refusal{http.StatusBadRequest, "InvalidBlockList"}
		}
		made.committed[id] = block
		made.content = append(made.content, block...)
	}
	s.store(w, r, blobs, name, made)
	return nil
}

func read(w http.ResponseWriter, r *http.Request, b *blob, asked *[]byte) *refusal {
	if b == nil || !b.there {
		return &refusal{http.StatusNotFound, "BlobNotFound"}
	}
	if no := condition(r, b); no != nil {
		return no
	}
	maps.Copy(w.Header(), b.metadata)
	w.Header().Set("ETag", `"`+b.version+`"`)
	w.Header().Set("Last-Modified", b.modified.UTC().Format(http.TimeFormat))
	from, to, status := int64(0), int64(len(b.content)), http.StatusOK
	if bytes := r.Header.Get("X-Ms-Range"); bytes != "" {
		first, last, _ := strings.Cut(strings.TrimPrefix(bytes, "bytes="), "-")
		from, _ = strconv.ParseInt(first, 10, 64)
		if end, err := strconv.ParseInt(last, 10, 64); err == nil {
			to = min(to, end+1)
		}
		if from >= int64(len(b.content)) {
			return &refusal{http.StatusRequestedRangeNotSatisfiable, "InvalidRange"}
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(b.content)))
		status = http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		*asked = b.content[from:to]
	}
	return nil
}

// remove removes a blob. What has only blocks is none.
func remove(w http.ResponseWriter, r *http.Request, blobs map[string]*blob, name string) *refusal {
	if b := blobs[name]; b == nil || !b.there {
		return &refusal{http.StatusNotFound, "BlobNotFound"}
	}
	if no := condition(r, blobs[name]); no != nil {
		return no
	}
	delete(blobs, name)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func list(w http.ResponseWriter, query url.Values, blobs map[string]*blob) *refusal {
	var names []string
	include := strings.Split(query.Get("include"), ",")
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		if strings.HasPrefix(name, query.Get("prefix")) && name >= query.Get("marker") &&
			(blobs[name].there || slices.Contains(include, "uncommittedblobs")) {
			names = append(names, name)
		}
	}
	next := ""
	if len(names) > maxPage {
		names, next = names[:maxPage], names[maxPage]
	}
	w.Header().Set("Content-Type", "application/xml")
	fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>`)
	for _, name := range names {
		blobs[name].describe(w, name, slices.Contains(include, "metadata"))
	}
	fmt.Fprint(w, "</Blobs><NextMarker>")
	_ = xml.EscapeText(w, []byte(next))
	fmt.Fprint(w, "</NextMarker></EnumerationResults>")
	return nil
}

// describe writes a blob as a listing has it: one that is not there has no ETag.
func (b *blob) describe(w io.Writer, name string, metadata bool) {
	fmt.Fprint(w, "<Blob><Name>")
	_ = xml.EscapeText(w, []byte(name))
	fmt.Fprintf(w, "</Name><Properties><Content-Length>%d</Content-Length><BlobType>BlockBlob</BlobType>", len(b.content))
	if b.there {
		fmt.Fprintf(w, "<Etag>%s</Etag>", b.version)
	}
	fmt.Fprint(w, "</Properties>")
	if metadata && len(b.metadata) > 0 {
		fmt.Fprint(w, "<Metadata>")
		for key, values := range b.metadata {
			member := strings.TrimPrefix(key, "X-Ms-Meta-")
			fmt.Fprintf(w, "<%s>%s</%s>", member, values[0], member)
		}
		fmt.Fprint(w, "</Metadata>")
	}
	fmt.Fprint(w, "</Blob>")
}
