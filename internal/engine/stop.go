package engine

// StopWouldRemove says why stopping the container would remove or replace it; empty
// if it would not.
func StopWouldRemove(c *ContainerDetail) string {
	switch {
	case c.AutoRemove:
		return "it is set to be removed when it stops (--rm), with its anonymous volumes"
	case c.Labels["com.docker.swarm.task.id"] != "":
		return "it is a task of a swarm service, which would replace it"
	}
	return ""
}
