package azure_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/azure"
	"holdfast.io/holdfast/internal/sink/azure/azuretest"
	"holdfast.io/holdfast/internal/sink/object"
)

// quirk answers a request in place of the service, and reports whether it did.
type quirk func(w http.ResponseWriter, r *http.Request, service http.Handler) bool

// behind runs a server with a container, and returns how it is reached through a quirk.
func behind(t *testing.T, q quirk) (azure.Options, *azuretest.Server) {
	t.Helper()
	server := azuretest.Start(t, func(service http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !q(w, r, service) {
				service.ServeHTTP(w, r)
			}
		})
	})
	o := options(t, server)
	server.Create(o.Container)
	return o, server
}

func honest(http.ResponseWriter, *http.Request, http.Handler) bool { return false }

func isBlock(r *http.Request) bool { return r.URL.Query().Get("comp") == "block" }

func isCommit(r *http.Request) bool { return r.URL.Query().Get("comp") == "blocklist" }

// upload stores an object of so many bytes.
func upload(ctx context.Context, s object.Store, key string, size int64) error {
	u, err := s.Begin(ctx, key, 0)
	if err != nil {
		return err
	}
	if _, err = io.Copy(u, io.LimitReader(&pattern{}, size)); err == nil {
		err = u.Commit()
	}
	if err != nil {
		return errors.Join(err, u.Abort(ctx))
	}
	return nil
}

// pattern is a stream that shows when bytes are missing or doubled.
type pattern struct{ at int }

// period is what a pattern repeats. No block has a multiple of its length.
var period = func() []byte {
	b := make([]byte, 1<<16+1)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}()

func (r *pattern) Read(p []byte) (int, error) {
	n := copy(p, period[r.at%len(period):])
	r.at += n
	return n, nil
}

// begun returns an upload of which blocks are at the service, and its store.
func begun(t *testing.T, o azure.Options, key string) (object.Store, object.Upload) {
	t.Helper()
	s := open(t, o)
	u, err := s.Begin(t.Context(), key, 0)
	must(t, err)
	_, err = io.CopyN(u, &pattern{}, 40<<20)
	must(t, err)
	return s, u
}

func TestBlockSize(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		o          azure.Options
		most, want int64
	}{
		{azure.Options{}, 1, 5 * mib},
		{azure.Options{}, 250_000 * mib, 5 * mib},
		{azure.Options{}, 250_000*mib + 1, 6 * mib},
		{azure.Options{}, 0, 5 * mib},
		{azure.Options{MaxArtifact: 1 << 40}, 0, 21 * mib},
		{azure.Options{MaxArtifact: 1 << 40}, 1 << 30, 5 * mib},
	} {
		if got := c.o.BlockSize(c.most); got != c.want {
			t.Errorf("%+v: for %d bytes blocks have %d, want %d", c.o, c.most, got, c.want)
		}
	}
}

// Every block fails once: it costs that block, and not the upload.
func TestABlockIsSentAgain(t *testing.T) {
	for name, fail := range map[string]quirk{
		"cut in the middle": func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = conn.Close()
			}
			return true
		},
		"stored, and the answer lost": func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
			service.ServeHTTP(httptest.NewRecorder(), r)
			azuretest.Refuse(w, http.StatusInternalServerError, "InternalError")
			return true
		},
		"busy": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			azuretest.Refuse(w, http.StatusServiceUnavailable, "ServerBusy")
			return true
		},
		"not answered": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done() // the connection stands still until the client breaks it
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			tries := map[string]int{}
			o, server := behind(t, func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
				if !isBlock(r) {
					return false
				}
				mu.Lock()
				id := r.URL.Query().Get("blockid")
				tries[id]++
				first := tries[id] == 1
				mu.Unlock()
				return first && fail(w, r, service)
			})
			must(t, upload(t.Context(), open(t, o.Hasten(3*time.Second)), "x", 44<<20))
			want, err := io.ReadAll(io.LimitReader(&pattern{}, 44<<20))
			must(t, err)
			if got := server.Contents(o.Container)["x"]; got != string(want) {
				t.Errorf("%d bytes are stored, and are not the %d that were sent", len(got), len(want))
			}
			mu.Lock()
			defer mu.Unlock()
			for id, n := range tries {
				if n < 2 {
					t.Errorf("block %s was sent %d times", id, n)
				}
			}
			if len(tries) != 9 {
				t.Errorf("there were %d blocks", len(tries))
			}
		})
	}
}

// The blob is put together, the answer is lost, and the second try says the same.
func TestCommitTwice(t *testing.T) {
	var commits atomic.Int32
	o, server := behind(t, func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
		if !isCommit(r) || commits.Add(1) > 1 {
			return false
		}
		service.ServeHTTP(httptest.NewRecorder(), r)
		azuretest.Refuse(w, http.StatusInternalServerError, "InternalError")
		return true
	})
	must(t, upload(t.Context(), open(t, o), "x", 20<<20))
	if got := len(server.Contents(o.Container)["x"]); got != 20<<20 || commits.Load() != 2 {
		t.Errorf("%d bytes are stored after %d tries", got, commits.Load())
	}
}

// A service that stays busy is an error after a few tries, which leaves nothing.
func TestAServiceThatStaysBusy(t *testing.T) {
	var refused atomic.Int32
	o, server := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !isCommit(r) || refused.Load() >= 6 {
			return false
		}
		refused.Add(1)
		azuretest.Refuse(w, http.StatusServiceUnavailable, "ServerBusy")
		return true
	})
	err := upload(t.Context(), open(t, o), "x", 20<<20)
	if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("the upload: %v", err)
	}
	if left := server.Contents(o.Container); len(left) > 0 {
		t.Errorf("%d blobs are left", len(left))
	}
}

// A sweep that is disturbed after each of its requests removes what is left when it is tried
// again.
func TestASweepThatIsDisturbed(t *testing.T) {
	for name, c := range map[string]struct {
		disturb quirk
		fails   bool
	}{
		"the answer to making the blob is lost": {func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
			if !isCommit(r) {
				return false
			}
			service.ServeHTTP(httptest.NewRecorder(), r)
			azuretest.Refuse(w, http.StatusInternalServerError, "InternalError")
			return true
		}, false},
		"it ends before the blob is made": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isCommit(r) {
				azuretest.Refuse(w, http.StatusForbidden, "AuthorizationFailure")
			}
			return isCommit(r)
		}, true},
		"it ends before the blob is removed": {func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method == http.MethodDelete {
				azuretest.Refuse(w, http.StatusForbidden, "AuthorizationFailure")
			}
			return r.Method == http.MethodDelete
		}, true},
		"the answer to removing it is lost": {func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
			if r.Method != http.MethodDelete {
				return false
			}
			service.ServeHTTP(httptest.NewRecorder(), r)
			azuretest.Refuse(w, http.StatusInternalServerError, "InternalError")
			return true
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var hit atomic.Bool
			o, server := behind(t, func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
				return !hit.Load() && c.disturb(w, r, service) && hit.CompareAndSwap(false, true)
			})
			s, u := begun(t, o, "a/x")
			err := s.Sweep(t.Context(), "a/")
			if (err != nil) != c.fails || !hit.Load() {
				t.Errorf("the sweep: %v; it was disturbed: %v", err, hit.Load())
			}
			must(t, s.Sweep(t.Context(), "a/"))
			if err := u.Commit(); err == nil {
				t.Error("an upload was committed after it was swept")
			}
			must(t, u.Abort(t.Context()))
			if left := server.Contents(o.Container); len(left) > 0 {
				t.Errorf("%d blobs are left", len(left))
			}
		})
	}
}

// An upload is committed while a sweep is about to remove its blocks: the blob stays.
func TestASweepAndACommit(t *testing.T) {
	var commit func() error
	o, server := behind(t, func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
		if r.URL.Query().Get("comp") != "list" {
			return false
		}
		service.ServeHTTP(w, r) // it is listed as blocks
		must(t, commit())
		return true
	})
	s, u := begun(t, o, "a/x")
	commit = u.Commit
	must(t, s.Sweep(t.Context(), "a/"))
	if got := len(server.Contents(o.Container)["a/x"]); got != 40<<20 {
		t.Errorf("%d bytes are stored", got)
	}
}

// What a sweep has made empty is stored as a whole before it is removed: that stays.
func TestASweepAndAnotherUpload(t *testing.T) {
	var put func() error
	var hit atomic.Bool
	o, server := behind(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodDelete && hit.CompareAndSwap(false, true) {
			must(t, put())
		}
		return false
	})
	s, u := begun(t, o, "a/x")
	put = func() error { return s.Put(t.Context(), "a/x", []byte("another one")) }
	must(t, s.Sweep(t.Context(), "a/"))
	if got := server.Contents(o.Container)["a/x"]; got != "another one" || !hit.Load() {
		t.Errorf("%q is stored", got)
	}
	if err := u.Commit(); err == nil {
		t.Error("an upload was committed after it was swept")
	}
	must(t, u.Abort(t.Context()))
}

// What the service answers is an error that says what to do.
func TestAnswers(t *testing.T) {
	for code, c := range map[string]struct {
		status int
		want   error
		says   string
	}{
		"ContainerNotFound":               {http.StatusNotFound, sink.ErrUnavailable, "no such container"},
		"ContainerBeingDeleted":           {http.StatusConflict, sink.ErrUnavailable, "being deleted"},
		"BlobNotFound":                    {http.StatusNotFound, sink.ErrNotFound, "azblob://backup/x"},
		"AuthenticationFailed":            {http.StatusForbidden, sink.ErrUnavailable, "SAS has expired"},
		"AuthorizationFailure":            {http.StatusForbidden, sink.ErrUnavailable, "may not do that"},
		"AuthorizationPermissionMismatch": {http.StatusForbidden, sink.ErrUnavailable, "may not do that"},
		"InsufficientAccountPermissions":  {http.StatusForbidden, sink.ErrUnavailable, "may not do that"},
		"SomethingNew":                    {http.StatusForbidden, sink.ErrUnavailable, "may not do that"},
		"AccountIsDisabled":               {http.StatusForbidden, sink.ErrUnavailable, "account is disabled"},
		"BlobImmutableDueToPolicy":        {http.StatusConflict, sink.ErrUnavailable, "policy of the container"},
		"BlobArchived":                    {http.StatusConflict, sink.ErrUnavailable, "archive tier"},
		"InsufficientStorage":             {http.StatusInsufficientStorage, sink.ErrFull, "make room"},
		"ServerBusy":                      {http.StatusServiceUnavailable, sink.ErrUnavailable, "busy"},
	} {
		o, _ := behind(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			azuretest.Refuse(w, c.status, code)
			return true
		})
		_, err := open(t, o).Stat(t.Context(), "x")
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: %v, want it to say %q in one line", code, err, c.says)
		}
	}
}

// A SAS expires, and what renews it writes its file.
func TestASASIsRenewed(t *testing.T) {
	o, server := behind(t, honest)
	write := func(sas string, age time.Duration) {
		must(t, os.WriteFile(o.SASFile, []byte(sas), 0o600))
		must(t, os.Chtimes(o.SASFile, time.Now(), time.Now().Add(-age)))
	}
	o.KeyFile, o.SASFile = "", file(t, "")
	old := server.SAS("rwdlc", time.Now().Add(-time.Minute))
	write(old, time.Hour)
	s := open(t, o)
	err := upload(t.Context(), s, "x", 20<<20)
	if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "SAS has expired") {
		t.Errorf("with an old SAS: %v", err)
	}
	write("https://any.blob.core.windows.net/backup?"+server.SAS("rwdlc", time.Now().Add(time.Hour)), 0)
	must(t, upload(t.Context(), s, "x", 20<<20))
	if got := len(server.Contents(o.Container)); got != 1 {
		t.Errorf("there are %d blobs", got)
	}
}

// Credentials that cannot be used are an error that says so, at once.
func TestCredentials(t *testing.T) {
	o, server := behind(t, honest)
	sas := server.SAS("r", time.Now().Add(time.Hour))
	for name, c := range map[string]struct {
		key, sas    string // contents of files
		environment map[string]string
		want        string // what the error says; empty for none
	}{
		"nothing":                 {want: "set accountKeyFile or sasFile"},
		"a key":                   {key: azuretest.Key},
		"another key":             {key: "YW5vdGhlciBvbmU=", want: "the key or the SAS is wrong"},
		"no key":                  {key: "%", want: "holds no key"},
		"an empty key":            {key: "\n", want: "holds no key"},
		"a SAS":                   {sas: "?" + sas},
		"no SAS":                  {sas: "secret", want: "holds no SAS"},
		"a key in variables":      {environment: map[string]string{"AZURE_STORAGE_KEY": azuretest.Key, "AZURE_STORAGE_SAS_TOKEN": "x"}},
		"a SAS in variables":      {environment: map[string]string{"AZURE_STORAGE_SAS_TOKEN": sas}},
		"a file before variables": {sas: sas, environment: map[string]string{"AZURE_STORAGE_KEY": "YW5vdGhlciBvbmU="}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"} {
				t.Setenv(variable, c.environment[variable])
			}
			o := o
			o.KeyFile = ""
			if c.key != "" {
				o.KeyFile = file(t, c.key)
			}
			if c.sas != "" {
				o.SASFile = file(t, c.sas)
			}
			s := open(t, o)
			for range 2 { // also when it was read before
				_, err := s.Stat(t.Context(), "none")
				if c.want == "" && !errors.Is(err, sink.ErrNotFound) {
					t.Errorf("stat: %v", err)
				}
				if c.want != "" && (!errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("stat: %v, want it to say %q", err, c.want)
				}
			}
		})
	}
}

// A SAS is a secret: no error shows it, and no other server is given it.
func TestASASIsKept(t *testing.T) {
	var got atomic.Value
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.Store(r.URL.String()) }))
	defer other.Close()
	o, server := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		return true
	})
	o.KeyFile, o.SASFile = "", file(t, server.SAS("r", time.Now().Add(time.Hour)))
	_, err := open(t, o).Stat(t.Context(), "x")
	if err == nil || got.Load() != nil {
		t.Errorf("stat: %v; the other server got %v", err, got.Load())
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	o.Endpoint = gone.URL
	_, err = open(t, o).Stat(t.Context(), "x")
	if !errors.Is(err, sink.ErrUnavailable) || strings.Contains(fmt.Sprint(err), "sig=") {
		t.Errorf("stat: %v", err)
	}
}

// A SAS that may not delete is enough to store points.
func TestWithoutTheRightToDelete(t *testing.T) {
	o, server := behind(t, honest)
	o.KeyFile, o.SASFile = "", file(t, server.SAS("rwcl", time.Now().Add(time.Hour)))
	s, err := object.Open(t.Context(), open(t, o), "", "")
	must(t, err)
	staging, err := s.Stage(t.Context(), "points/h/container/n/i", "1")
	must(t, err)
	w, key, err := staging.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = io.CopyN(w, &pattern{}, 20<<20)
	must(t, err)
	must(t, w.Commit())
	must(t, staging.Publish(t.Context(), []byte(key)))
	must(t, staging.Discard(t.Context()))
	if err := s.RemovePoint(t.Context(), "points/h/container/n/i"); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("the point is removed: %v", err)
	}
	for range 2 {
		probed, err := s.Probe(t.Context())
		caveats := probed.Warnings
		must(t, err)
		if len(caveats) != 1 || !strings.Contains(caveats[0], "may not delete: backups work") || slices.Contains(probed.May, "delete") {
			t.Errorf("the warnings are %q", caveats)
		}
	}
}

// What only speaks the protocol may ignore conditions, or list in another order.
func TestWhatIsNotAzure(t *testing.T) {
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		switch {
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(http.StatusCreated)
			return true
		case r.URL.Query().Get("comp") == "list":
			w.Header().Set("Content-Type", "application/xml")
			fmt.Fprint(w, `<EnumerationResults><Blobs><Blob><Name>b</Name><Properties/></Blob><Blob><Name>a</Name><Properties/></Blob></Blobs>`+
				`<NextMarker/></EnumerationResults>`)
			return true
		}
		return false
	})
	s := open(t, o)
	caveats, err := s.Caveats(t.Context(), "tried")
	must(t, err)
	if len(caveats) != 1 || !strings.Contains(caveats[0], "ignores If-None-Match") {
		t.Errorf("the caveats are %q", caveats)
	}
	var last error
	for _, err := range s.List(t.Context(), "") {
		last = err
	}
	if !errors.Is(last, sink.ErrUnavailable) || !strings.Contains(fmt.Sprint(last), "hierarchical") {
		t.Errorf("a listing that is not in order: %v", last)
	}
}

func TestTier(t *testing.T) {
	o, server := behind(t, honest)
	o.Tier = "Cool"
	s := open(t, o)
	must(t, s.Put(t.Context(), "small", nil))
	must(t, upload(t.Context(), s, "large", 20<<20))
	for _, key := range []string{"small", "large"} {
		if got := server.Tier(o.Container, key); got != "Cool" {
			t.Errorf("%s is stored in the tier %q", key, got)
		}
	}
}

// A clock of the service that is an hour ahead is told.
func TestSkewedClock(t *testing.T) {
	o, server := behind(t, honest)
	for _, ahead := range []time.Duration{0, time.Hour} {
		server.Skew = ahead
		s, err := object.Open(t.Context(), open(t, o), "", "")
		must(t, err)
		probed, err := s.Probe(t.Context())
		must(t, err)
		if got := strings.Join(probed.Warnings, "; "); strings.Contains(got, "about 1h0m0s ahead") != (ahead > 0) {
			t.Errorf("%s ahead: it warns %q", ahead, got)
		}
	}
}
