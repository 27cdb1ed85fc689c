package opsmanager

import "github.com/keyturn/keyturn"

// Stamp edits an automation config.
var Stamp = stamp

// KnowBackups makes the client know that the units' keys are those of their backups.
func KnowBackups(c *Client, units ...string) {
	for _, unit := range units {
		_, project, cluster, err := keyturn.SplitUnitID(unit)
		if err != nil {
			panic(err)
		}
		c.ways.learn(project, map[string]route{cluster: {way: wayBackup}}, c.now())
	}
}

// Held is how many projects the client holds something large of.
func Held(c *Client) int {
	c.projects.mu.Lock()
	defer c.projects.mu.Unlock()
	return len(c.projects.by)
}
