// Package azure is an object store in a container of Azure's Blob Storage, or of what speaks
// its protocol.
package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/conn"
)

// Options say where a store lies, and how it is used.
type Options struct {
	// Container is there already, and Prefix is what all names of blobs begin with, without
	// a slash at its end; empty for the whole container.
	Container, Prefix string
	// Account is the name of the storage account; empty for AZURE_STORAGE_ACCOUNT.
	Account string
	// Endpoint is the URL of the account, https://host, which may have a path; empty for
	// Azure's public cloud.
	Endpoint string
	// KeyFile is a file with a key of the account, and SASFile one with a shared access
	// signature, or a URL that has one. Without both AZURE_STORAGE_KEY or
	// AZURE_STORAGE_SAS_TOKEN count.
	KeyFile, SASFile string
	// CA is a file of PEM certificates that the service's is signed by, beside the system's.
	CA string
	// Tier is the access tier of what is stored: Hot, Cool or Cold; empty for the account's.
	Tier string
	// MaxArtifact is how many bytes an artifact of unknown size has at most. It decides how
	// large its blocks are; 0 for DefaultMaxArtifact.
	MaxArtifact int64

	idle  time.Duration       // for how long a connection may stand still; 0 for a minute
	retry policy.RetryOptions // the zero value for halfAMinute
}

// halfAMinute is for how long one waits in all until a request is not tried again: 1 s, 3 s,
// 7 s, 10 s and 10 s. A service that asks for more than that at a time is not asked again.
var halfAMinute = policy.RetryOptions{MaxRetries: 5, RetryDelay: time.Second, MaxRetryDelay: 10 * time.Second}

// Store is a prefix in a container.
type Store struct {
	client  *container.Client
	options Options
	prefix  string // of all names; ends with a slash unless it is empty
	place   string
	tier    *blob.AccessTier
}

var (
	_ object.Store  = (*Store)(nil)
	_ object.Billed = (*Store)(nil)
)

// New checks the options, and connects to nothing.
func New(o Options) (*Store, error) {
	if o.Account == "" {
		o.Account = os.Getenv("AZURE_STORAGE_ACCOUNT")
	}
	service, err := endpoint(o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, prefix: o.Prefix, place: place(o, service)}
	if s.prefix != "" {
		s.prefix += "/"
	}
	if s.tier, err = tier(o.Tier); err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: true,
		TLSHandshakeTimeout: 30 * time.Second,
	}
	if err := conn.Tune(t, o.CA, o.idle); err != nil {
		return nil, err
	}
	if o.retry.MaxRetries == 0 {
		o.retry = halfAMinute
	}
	s.client, err = newClient(o, service+"/"+url.PathEscape(o.Container), t)
	return s, err
}

// place returns where a store lies, in its one canonical form.
func place(o Options, service string) string {
	place := "azblob://" + o.Container
	if o.Prefix != "" {
		place += "/" + o.Prefix
	}
	return place + " (" + service + ")"
}

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// endpoint returns the URL of the account, without a slash at its end.
func endpoint(o Options) (string, error) {
	if !accountName.MatchString(o.Account) {
		return "", fmt.Errorf("the account %q is not the name of a storage account: 3 to 24 small letters and digits; "+
			"set account, or AZURE_STORAGE_ACCOUNT", o.Account)
	}
	if o.Endpoint == "" {
		return "https://" + o.Account + ".blob.core.windows.net", nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		u.Scheme != "https" && u.Scheme != "http" {
		// The error of the URL would repeat it with its password.
		return "", errors.New("the endpoint must be https://host, https://host:port or one of them with a path, without user or query")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func tier(name string) (*blob.AccessTier, error) {
	t := blob.AccessTier(name)
	switch known := []blob.AccessTier{blob.AccessTierHot, blob.AccessTierCool, blob.AccessTierCold}; {
	case name == "":
		return nil, nil
	case slices.Contains(known, t):
		return &t, nil
	}
	return nil, fmt.Errorf("the storageClass %q is no access tier of blobs that can be read at once: Hot, Cool or Cold", name)
}

// Place implements [object.Store].
func (s *Store) Place(key string) string {
	if key == "" {
		return s.place
	}
	return "azblob://" + s.options.Container + "/" + s.prefix + key
}

func (s *Store) blob(key string) *blockblob.Client {
	return s.client.NewBlockBlobClient(s.prefix + key)
}

// Conditions of requests.
func ifAbsent() *blob.AccessConditions {
	anything := azcore.ETagAny
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &anything}}
}

func ifVersion(version string) *blob.AccessConditions {
	tag := azcore.ETag(`"` + version + `"`)
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &tag}}
}

// versionOf returns an ETag without its quotes, which listings leave out.
func versionOf(tag *azcore.ETag) string {
	if tag == nil {
		return ""
	}
	return strings.Trim(string(*tag), `"`)
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, nil)
}

// PutNew implements [object.Store].
func (s *Store) PutNew(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, ifAbsent())
}

func (s *Store) put(ctx context.Context, key string, content []byte, when *blob.AccessConditions) error {
	err := send(content, func(r io.ReadSeekCloser, sum blob.TransferValidationType) error {
		_, err := s.blob(key).Upload(ctx, r, &blockblob.UploadOptions{Tier: s.tier, TransactionalValidation: sum, AccessConditions: when})
		return err
	})
	return s.explain(key, err)
}

// Caveats implements [object.Store]. Azure has all that the port asks for; what only speaks
// its protocol may not.
func (s *Store) Caveats(ctx context.Context, key string) ([]string, error) {
	err := s.PutNew(ctx, key, []byte("first"))
	if err == nil {
		err = s.PutNew(ctx, key, []byte("second"))
	}
	switch {
	case err == nil:
		return []string{"the service ignores If-None-Match: should two workers store one point at a time, " +
			"the later manifest replaces the first"}, nil
	case errors.Is(err, sink.ErrExists):
		return nil, nil
	}
	return nil, err
}

// Open implements [object.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, object.Info, error) {
	o := &blob.DownloadStreamOptions{Range: rangeOf(offset, length)}
	if version != "" {
		o.AccessConditions = ifVersion(version)
	}
	found, err := s.blob(key).DownloadStream(ctx, o)
	switch {
	case bloberror.HasCode(err, bloberror.ConditionNotMet):
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), object.ErrChanged)
	case bloberror.HasCode(err, bloberror.InvalidRange):
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), sink.ErrRange)
	case err != nil:
		return nil, object.Info{}, s.explain(key, err)
	}
	info := object.Info{Size: valueOf(found.ContentLength), Version: versionOf(found.ETag), Modified: valueOf(found.LastModified)}
	if total, ok := totalOf(valueOf(found.ContentRange)); ok {
		info.Size = total
	}
	return found.Body, info, nil
}

// rangeOf returns the range of a request, which the service cuts at the blob's end.
func rangeOf(offset, length int64) blob.HTTPRange {
	if length < 0 {
		return blob.HTTPRange{Offset: offset}
	}
	return blob.HTTPRange{Offset: offset, Count: max(length, 1)}
}

// totalOf returns the size of a blob of which a part is sent: bytes 0-4/10.
func totalOf(contentRange string) (int64, bool) {
	_, total, _ := strings.Cut(contentRange, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	return size, err == nil
}

// valueOf returns what a member of an answer has, which may be left out.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key string) (object.Info, error) {
	found, err := s.blob(key).GetProperties(ctx, nil)
	if err != nil {
		return object.Info{}, s.explain(key, err)
	}
	return object.Info{Size: valueOf(found.ContentLength), Version: versionOf(found.ETag), Modified: valueOf(found.LastModified)}, nil
}

// items yields what the container has below prefix.
func (s *Store) items(ctx context.Context, prefix string, include container.ListBlobsInclude) iter.Seq2[*container.BlobItem, error] {
	return func(yield func(*container.BlobItem, error) bool) {
		begin := s.prefix + prefix
		pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &begin, Include: include})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(nil, s.explain(prefix, err))
				return
			}
			for _, item := range page.Segment.BlobItems {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) keyOf(item *container.BlobItem) string {
	return strings.TrimPrefix(valueOf(item.Name), s.prefix)
}

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		last := ""
		for item, err := range s.items(ctx, prefix, container.ListBlobsInclude{}) {
			if err != nil {
				yield(object.Entry{}, err)
				return
			}
			key := s.keyOf(item)
			if key <= last {
				yield(object.Entry{}, fmt.Errorf("%s: %w: it lists %q after %q; an account that does not list in the order of names, "+
					"as one with a hierarchical namespace, cannot hold a sink", s.Place(prefix), sink.ErrUnavailable, key, last))
				return
			}
			last = key
			about := item.Properties
			info := object.Info{Size: valueOf(about.ContentLength), Version: versionOf(about.ETag), Modified: valueOf(about.LastModified)}
			if !yield(object.Entry{Key: key, Info: info}, nil) {
				return
			}
		}
	}
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key string) error { return s.delete(ctx, key, nil) }

func (s *Store) delete(ctx context.Context, key string, when *blob.AccessConditions) error {
	_, err := s.blob(key).Delete(ctx, &blob.DeleteOptions{AccessConditions: when})
	if err = s.explain(key, err); errors.Is(err, sink.ErrNotFound) {
		return nil
	}
	if a, ok := errors.AsType[answer](err); ok && a.status == http.StatusForbidden && remedies[a.code] == denied {
		return fmt.Errorf("%s: %w: %w", s.Place(key), sink.ErrMayNotRemove, a)
	}
	return err
}
