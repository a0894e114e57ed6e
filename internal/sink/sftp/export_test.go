package sftp

import "time"

// Hasten has a store wait for so long at most where it waits for 30 s, and for other things
// in proportion.
func (s *Store) Hasten(stall time.Duration) {
	s.times = times{dial: stall, stall: stall, sync: 20 * stall, idle: 2 * stall, patience: 2 * stall}
}

// IsConnected reports whether the store has a connection.
func (s *Store) IsConnected() bool { return s.link != nil && !s.link.isClosed() }

// HiddenPrefix begins the names of files that are no objects yet.
const HiddenPrefix = hiddenPrefix
