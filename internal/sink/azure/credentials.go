package azure

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// errCredentials: there is nothing to sign requests with.
var errCredentials = errors.New("the credentials cannot be used")

// newClient returns a client of the container at location.
func newClient(o Options, location string, t http.RoundTripper) (*container.Client, error) {
	c, err := newCredentials(o)
	if err != nil {
		return nil, err
	}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:            o.retry,
		Transport:        &http.Client{Transport: c.signing(t), CheckRedirect: stay},
		PerCallPolicies:  []policy.Policy{c},
		PerRetryPolicies: []policy.Policy{ownBodies{}},
	}}
	if c.key != nil {
		return container.NewClientWithSharedKeyCredential(location, c.key, options)
	}
	return container.NewClientWithNoCredential(location, options)
}

// stay follows no redirection: another place must not be given a SAS.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// credentials are a key of the account, or a shared access signature. A file of either is
// read again when it was written: what renews them replaces it while a backup runs.
type credentials struct {
	file, variable string                    // where the secret is
	key            *blob.SharedKeyCredential // nil for a SAS

	mu      sync.Mutex // guards what follows
	written time.Time  // the file's time when it was read
	sas     string     // as it is in the query of a request
}

// newCredentials chooses between what the options and the environment have.
func newCredentials(o Options) (*credentials, error) {
	var c *credentials
	switch {
	case o.KeyFile != "" && o.SASFile != "":
		return nil, errors.New("accountKeyFile and sasFile exclude each other")
	case o.SASFile != "":
		return &credentials{file: o.SASFile}, nil
	case o.KeyFile == "" && os.Getenv(keyVariable) == "":
		return &credentials{variable: "AZURE_STORAGE_SAS_TOKEN"}, nil
	case o.KeyFile == "":
		c = &credentials{variable: keyVariable}
	default:
		c = &credentials{file: o.KeyFile}
	}
	key, err := blob.NewSharedKeyCredential(o.Account, "") // load sets it
	c.key = key
	return c, err
}

const keyVariable = "AZURE_STORAGE_KEY"

// Do implements [policy.Policy]: it has the secret ready before a request is signed.
func (c *credentials) Do(r *policy.Request) (*http.Response, error) {
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("%w: %w", errCredentials, err)
	}
	return r.Next()
}

// load reads the secret, unless its file is as it was.
func (c *credentials) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	written, err := c.changed()
	if err != nil || !written.IsZero() && written.Equal(c.written) {
		return err
	}
	secret, err := c.read()
	if err != nil {
		return err
	}
	if err := c.use(secret); err != nil {
		return err
	}
	c.written = written
	return nil
}

// changed returns when the secret's file was written; never, for the environment.
func (c *credentials) changed() (time.Time, error) {
	if c.file == "" {
		return time.Time{}, nil
	}
	info, err := os.Stat(c.file)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func (c *credentials) read() (string, error) {
	if c.file != "" {
		content, err := os.ReadFile(c.file)
		return strings.TrimSpace(string(content)), err
	}
	if secret := strings.TrimSpace(os.Getenv(c.variable)); secret != "" {
		return secret, nil
	}
	return "", errors.New("there are none; set accountKeyFile or sasFile of the sink, or AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN")
}

// use has the next requests signed with the secret.
func (c *credentials) use(secret string) error {
	if c.key != nil {
		if secret == "" || c.key.SetAccountKey(secret) != nil {
			return fmt.Errorf("%s%s holds no key of a storage account, which is base64", c.file, c.variable)
		}
		return nil
	}
	if _, query, ok := strings.Cut(secret, "?"); ok { // a whole URL, or as the portal shows it
		secret = query
	}
	if q, err := url.ParseQuery(secret); err != nil || q.Get("sig") == "" {
		return fmt.Errorf("%s%s holds no SAS: that has sv=… and sig=… in it", c.file, c.variable)
	}
	c.sas = secret
	return nil
}

// signing returns t, which adds the SAS to the URLs of requests. Nothing above it sees that,
// so it comes into no error.
func (c *credentials) signing(t http.RoundTripper) http.RoundTripper {
	if c.key != nil {
		return t
	}
	return withSAS{t, c}
}

type withSAS struct {
	next        http.RoundTripper
	credentials *credentials
}

// RoundTrip implements [http.RoundTripper].
func (t withSAS) RoundTrip(r *http.Request) (*http.Response, error) {
	t.credentials.mu.Lock()
	sas := t.credentials.sas
	t.credentials.mu.Unlock()
	signed := r.Clone(r.Context())
	if signed.URL.RawQuery != "" {
		sas = "&" + sas
	}
	signed.URL.RawQuery += sas
	return t.next.RoundTrip(signed)
}
