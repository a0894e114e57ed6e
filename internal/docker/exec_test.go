package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast.io/holdfast/internal/engine"
)

// execEngine begins every command, and leaves its stream to start.
func execEngine(t *testing.T, state func() string, start func(net.Conn)) *Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	mux.HandleFunc("POST /v1.41/containers/c/exec", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Id":"e"}`) })
	mux.HandleFunc("GET /v1.41/exec/e/json", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, state()) })
	mux.HandleFunc("POST /v1.41/exec/e/start", func(w http.ResponseWriter, r *http.Request) {
		// As an Engine does: a connection that is closed with something unread in it
		// breaks the client's write, or the rest of what it was sent.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		start(conn)
	})
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	e, err := Connect("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

const upgraded = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

// frame is a piece of one of the two streams of a command.
func frame(stream byte, content string) string {
	head := [8]byte{stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(content)))
	return string(head[:]) + content
}

func TestExecWaitsForTheEnd(t *testing.T) {
	var asked atomic.Int32
	running := func() string {
		if asked.Add(1) < 3 {
			return `{"Running":true}`
		}
		return `{"Running":false,"ExitCode":7}`
	}
	e := execEngine(t, running, func(c net.Conn) {
		fmt.Fprint(c, upgraded+frame(1, "out ")+frame(2, "err "), frame(1, "again"))
	})
	r, err := e.Exec(t.Context(), "c", []string{"x"})
	if err != nil || r.ExitCode != 7 || string(r.Output) != "out err again" {
		t.Errorf("it ended with %d and said %q, %v; want 7 and both streams", r.ExitCode, r.Output, err)
	}
}

// An Engine that stops to answer does not keep the caller.
func TestExecLeavesAnEngineThatHangs(t *testing.T) {
	cause := errors.New("enough")
	cases := map[string]func(c net.Conn){
		"before it answers":     func(net.Conn) {},
		"in the midst of words": func(c net.Conn) { fmt.Fprint(c, upgraded, frame(1, "some")) },
	}
	for name, start := range cases {
		t.Run(name, func(t *testing.T) {
			thaw := make(chan struct{})
			begun := make(chan struct{})
			e := execEngine(t, nil, func(c net.Conn) {
				start(c)
				close(begun)
				<-thaw
				fmt.Fprint(c, upgraded)
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-begun
				cancel(cause)
			}()
			_, err := e.Exec(ctx, "c", []string{"x"})
			close(thaw) // the Engine still hung
			if !errors.Is(err, cause) {
				t.Errorf("it reports %v, want the cause of its context", err)
			}
		})
	}
}

func TestExecIsAwayWhenTheEngineIs(t *testing.T) {
	e := execEngine(t, func() string { panic(http.ErrAbortHandler) }, func(c net.Conn) { fmt.Fprint(c, upgraded, frame(1, "some")[:10]) })
	if _, err := e.Exec(t.Context(), "c", []string{"x"}); !errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("a stream and an answer that break off report %v, want ErrEngineUnavailable", err)
	}
}

func TestTail(t *testing.T) {
	for _, size := range []int{1, 7, 1000, engine.ExecOutput, engine.ExecOutput + 1, 3 * engine.ExecOutput} {
		var got tail
		var all bytes.Buffer
		for i := range 20 {
			p := strings.Repeat(string(rune('a'+i)), size)
			all.WriteString(p)
			if n, err := got.Write([]byte(p)); n != size || err != nil {
				t.Fatalf("Write returns %d, %v", n, err)
			}
		}
		want := all.Bytes()[max(0, all.Len()-engine.ExecOutput):]
		if !bytes.Equal(got.last, want) || cap(got.last) > 4*engine.ExecOutput {
			t.Errorf("of pieces of %d bytes %d are kept in %d, want the last %d", size, len(got.last), cap(got.last), len(want))
		}
	}
}
