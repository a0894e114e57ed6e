package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginWriteBack asks the system to begin writing a part of a file to the disk.
// It is a hint: whether the bytes are durable is what the sync says.
func beginWriteBack(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
