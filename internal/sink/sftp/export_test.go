package sftp

import "time"

// Hasten has a store wait for so long at most where it waits for 30 s, and for other things
// in proportion, but for a connection, which takes what it takes.
func (s *Store) Hasten(stall time.Duration) {
	s.times = times{dial: 2*time.Second + stall, stall: stall, sync: 20 * stall, idle: 2 * stall, patience: 2 * stall}
}

// HiddenPrefix begins the names of files that are no objects yet.
const HiddenPrefix = hiddenPrefix
