package s3_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// benchSize is what is sent at a time, in bytes.
const benchSize = 1 << 30

// rclone returns a command of rclone, of Debian, on the server.
func rclone(server *s3test.Server, args ...string) *exec.Cmd {
	cmd := exec.Command("rclone", args...) //nolint:gosec // a benchmark's own
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "RCLONE_CONFIG=/dev/null", "RCLONE_S3_PROVIDER=Other", "RCLONE_S3_ENDPOINT=" + server.URL,
		"RCLONE_S3_ACCESS_KEY_ID=" + s3test.AccessKey, "RCLONE_S3_SECRET_ACCESS_KEY=" + s3test.SecretKey,
		"RCLONE_S3_NO_CHECK_BUCKET=true",
	}
	return cmd
}

// BenchmarkUpload is the store beside rclone on the same server, with the same file: the
// store reads it as a stream, rclone as it likes.
func BenchmarkUpload(b *testing.B) {
	server := s3test.Start(b)
	file := filepath.Join(b.TempDir(), "file")
	f, err := os.Create(file)
	must(b, err)
	_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{1}), benchSize)) // as archives, it cannot be compressed
	must(b, err)
	must(b, f.Close())
	s := open(b, s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL, Credentials: server.Credentials})
	b.Run("holdfast", func(b *testing.B) {
		b.SetBytes(benchSize)
		for n := 0; b.Loop(); n++ {
			must(b, send(b, s, fmt.Sprint("x", n), file))
		}
	})
	b.Run("rclone", func(b *testing.B) {
		b.SetBytes(benchSize)
		for n := 0; b.Loop(); n++ {
			cmd := rclone(server, "copyto", file, fmt.Sprintf(":s3:%s/y%d", s3test.Bucket, n))
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("rclone: %v\n%s", err, out)
			}
		}
	})
}

func send(b *testing.B, s *s3.Store, key, file string) error {
	b.Helper()
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	u, err := s.Begin(b.Context(), key, benchSize)
	if err != nil {
		return err
	}
	if _, err := io.Copy(u, f); err != nil {
		return err
	}
	return u.Commit()
}

// BenchmarkDownload is the same the other way.
func BenchmarkDownload(b *testing.B) {
	server := s3test.Start(b)
	s := open(b, s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL, Credentials: server.Credentials})
	must(b, upload(b.Context(), s, "x", benchSize, benchSize))
	b.Run("holdfast", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			r, _, err := s.Open(b.Context(), "x", 0, -1, "")
			must(b, err)
			_, err = io.Copy(io.Discard, r)
			must(b, err)
			must(b, r.Close())
		}
	})
	b.Run("rclone", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			cmd := rclone(server, "cat", ":s3:"+s3test.Bucket+"/x")
			cmd.Stdout = io.Discard
			must(b, cmd.Run())
		}
	})
}
