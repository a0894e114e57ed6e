package s3

import (
	"os"
	"path/filepath"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// newCredentials returns what requests are signed with: the profile of a file, or what the
// usual chain finds.
func newCredentials(file, profile string) *credentials.Credentials {
	if file != "" {
		return credentials.New(&fileProvider{FileAWSCredentials: credentials.FileAWSCredentials{Filename: file, Profile: profile}, name: file})
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{},
		&fileProvider{FileAWSCredentials: credentials.FileAWSCredentials{Profile: profile}, name: usualFile()},
		&credentials.IAM{},
	})
}

// usualFile is where the AWS tools keep credentials.
func usualFile() string {
	if name := os.Getenv("AWS_SHARED_CREDENTIALS_FILE"); name != "" {
		return name
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".aws", "credentials")
}

// fileProvider reads credentials again when their file was written: what renews them
// replaces it while a backup runs.
type fileProvider struct {
	credentials.FileAWSCredentials
	name string
	read time.Time // the file's time when it was read
}

func (p *fileProvider) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	p.read = p.written()
	return p.FileAWSCredentials.RetrieveWithCredContext(c)
}

func (p *fileProvider) IsExpired() bool {
	return p.FileAWSCredentials.IsExpired() || !p.read.Equal(p.written())
}

func (p *fileProvider) written() time.Time {
	info, err := os.Stat(p.name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
