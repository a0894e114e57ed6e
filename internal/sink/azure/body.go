package azure

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5 is what the service checks
	"io"
	"net/http"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
)

// body is what is sent with a request, over all of its tries.
type body struct {
	bytes.Reader
	content []byte
	tries   sync.WaitGroup // that still read the content
}

// send calls request with content as it sends it, and its checksum, which the service
// compares. It returns when nothing reads content any more: a try that has failed may do so
// for longer than the request lasts.
func send(content []byte, request func(io.ReadSeekCloser, blob.TransferValidationType) error) error {
	b := &body{content: content}
	b.Reset(content)
	defer b.tries.Wait()
	sum := md5.Sum(content) //nolint:gosec // see the import
	return request(b, blob.TransferValidationTypeMD5(sum[:]))
}

// Close implements [io.Closer].
func (b *body) Close() error { return nil }

// try returns the content for one try.
func (b *body) try() io.ReadCloser {
	b.tries.Add(1)
	return &tryBody{bytes.NewReader(b.content), sync.OnceFunc(b.tries.Done)}
}

type tryBody struct {
	io.Reader
	done func()
}

// Close implements [io.Closer]. The transport calls it when it reads no more.
func (t *tryBody) Close() error {
	t.done()
	return nil
}

// ownBodies is a policy that gives each try of a request a body of its own. The client would
// rewind the one that the try before may still be reading.
type ownBodies struct{}

// Do implements [policy.Policy].
func (ownBodies) Do(r *policy.Request) (*http.Response, error) {
	raw := r.Raw()
	if raw.Body == nil || raw.Body == http.NoBody {
		return r.Next()
	}
	b, ok := r.Body().(*body)
	if !ok { // a list of blocks, which the client has made
		list, err := io.ReadAll(raw.Body)
		if err != nil {
			return nil, err
		}
		b = &body{content: list}
	}
	raw.Body = b.try()
	raw.GetBody = func() (io.ReadCloser, error) { return b.try(), nil }
	return r.Next()
}
