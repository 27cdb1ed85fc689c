package keyturn

import "time"

// Cell is a task with the place of its unit, as a matrix of clusters and components shows it.
type Cell struct {
	Task       ID
	Unit       string
	State      TaskState
	Resolution Resolution
	Reason     string
	Attempts   int
	StartedAt  *time.Time
	FinishedAt *time.Time

	ProjectID, ProjectName, ClusterName string
	Component                           Component
	Name                                string
}
