package azuretest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// allow holds a request against its signature.
func (s *Server) allow(r *http.Request) *refusal {
	failed := &refusal{http.StatusForbidden, "AuthenticationFailed"}
	if signature := r.URL.Query().Get("sig"); signature != "" {
		g, ok := s.shared[signature]
		if !ok || time.Now().After(g.expires) {
			return failed
		}
		if !strings.ContainsAny(g.permissions, needed(r)) {
			return &refusal{http.StatusForbidden, "AuthorizationPermissionMismatch"}
		}
		return nil
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return &refusal{http.StatusUnauthorized, "NoAuthenticationInformation"}
	}
	key, err := base64.StdEncoding.DecodeString(Key)
	if err != nil {
		return failed
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(toSign(r)))
	if authorization != "SharedKey "+Account+":"+base64.StdEncoding.EncodeToString(h.Sum(nil)) {
		return failed
	}
	return nil
}

// needed returns the letters of permissions of which a request needs one.
func needed(r *http.Request) string {
	switch r.Method {
	case http.MethodDelete:
		return "d"
	case http.MethodPut:
		return "cw"
	}
	if r.URL.Query().Get("comp") == "list" {
		return "l"
	}
	return "r"
}

// toSign returns what the signature of a request with a shared key is of.
func toSign(r *http.Request) string {
	length := r.Header.Get("Content-Length")
	if length == "0" {
		length = ""
	}
	lines := []string{r.Method}
	for _, name := range []string{
		"Content-Encoding", "Content-Language", "", "Content-MD5", "Content-Type", "", "If-Modified-Since", "If-Match", "If-None-Match",
		"If-Unmodified-Since", "Range",
	} {
		lines = append(lines, r.Header.Get(name))
	}
	lines[3] = length
	headers := map[string]string{}
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			headers[name] = strings.Join(values, ",")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines = append(lines, name+":"+headers[name])
	}
	lines = append(lines, "/"+Account+r.URL.EscapedPath())
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := slices.Sorted(slices.Values(query[name]))
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	return strings.Join(lines, "\n")
}
