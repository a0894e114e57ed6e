package registry_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Whatever is asked, the answer is one of the protocol's, every blob that was begun is
// ended, and only what is whole is kept.
func FuzzRequests(f *testing.F) {
	digest := digestOf([]byte("a blob"))
	for _, seed := range [][4]string{
		{"POST", "NAME/blobs/uploads/", "mount=" + digest + "&from=a/b", ""},
		{"PUT", "UPLOAD", "digest=" + digest, "a blob"},
		{"PUT", "UPLOAD", "digest=sha256:%2e%2e", "a blob"},
		{"PATCH", "UPLOAD", "", "a"},
		{"HEAD", "NAME/blobs/" + digest, "ns=127.0.0.1", ""},
		{"PUT", "NAME/manifests/v1", "", "{}"},
		{"PUT", "NAME/manifests/" + digest, "a=%zz;b", "a blob"},
		{"GET", "NAME/blobs/uploads/../../../_catalog", "", ""},
		{"DELETE", "UPLOAD", "", ""},
		{"CONNECT", "NAME/blobs/%2f/", "", ""},
		{"GET", "//v2/./holdfast//x", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	server := listen(f)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		p := openOn(t, server, &receiver{}, "v1")
		upload := p.begin()
		path = strings.NewReplacer("NAME", strings.TrimSuffix(p.base, "/"), "UPLOAD", upload).Replace(path)
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"Content-Type": {"a/b"}},
			Body: http.NoBody, Host: "x", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		r.Body = struct {
			*strings.Reader
			nothing
		}{strings.NewReader(body), nothing{}}
		r.SetBasicAuth(auth.User, auth.Password)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code >= 500 || w.Code < 200 {
			t.Errorf("%s %q?%q is answered %d", method, path, query, w.Code)
		}
		if w.Code == http.StatusCreated && len(p.r.blobs)+len(p.r.manifests) != 1 {
			t.Errorf("%s %q?%q is answered %d, and nothing is kept", method, path, query, w.Code)
		}
		p.Close()
		p.r.wantEnded(t)
		if err := p.Err(); err != nil {
			t.Errorf("%s %q?%q ended the session by %v", method, path, query, err)
		}
	})
}

type nothing struct{}

func (nothing) Close() error { return nil }
