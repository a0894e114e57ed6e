package bus

import "time"

// SetHeartbeat makes KeepAlive faster, for consumers with a short
// acknowledgement wait.
func (b *Bus) SetHeartbeat(d time.Duration) { b.heartbeat = d }
