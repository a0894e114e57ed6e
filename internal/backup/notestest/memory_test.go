package notestest_test

import (
	"testing"

	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/backup/notestest"
)

func TestMemory(t *testing.T) {
	notestest.Run(t, func(*testing.T) (first, second backup.Notes) {
		m := &notestest.Memory{}
		return m, m
	})
}
