package consume

import "time"

// SetHeartbeat makes KeepAlive faster, for consumers with a short
// acknowledgement wait.
func (s *Source) SetHeartbeat(d time.Duration) { s.heartbeat = d }
