package open

import (
	"errors"
	"net/url"
	"strings"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
)

// ociScheme is the scheme of sinks in a repository of an image registry:
// oci://registry:port/repository.
var ociScheme = inStore(ociStore, "endpoint", "ca", "userFile", "passwordFile", "credentialsFile")

func ociStore(c Config, _ bool) (object.Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		// The error of the URL would repeat the location with its password.
		return nil, errors.New("the location is not a valid URL")
	}
	if u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(c.URL, "#") {
		return nil, errors.New("it is oci://registry:port/repository, without user, query or fragment; " +
			"credentials go into userFile and passwordFile, or credentialsFile")
	}
	return oci.New(oci.Options{
		Registry: strings.ToLower(u.Host), Repository: strings.Trim(u.Path, "/"), Endpoint: c.Endpoint, CA: c.CA,
		UserFile: c.UserFile, PasswordFile: c.PasswordFile, Config: c.CredentialsFile,
	})
}
