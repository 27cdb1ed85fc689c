package kmip

// Speak makes the client use a version whatever the server would like best.
func (c *Client) Speak(v Version) { c.settle(v) }

// Known are the versions that the client speaks.
func Known() []Version { return known() }

// Idle is the number of connections that wait to be used again.
func (c *Client) Idle() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}
