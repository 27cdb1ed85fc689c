// Package crash kills a process at a named point of its work, so that tests
// can look at what the next process makes of it. There is a point before and
// after every durable step and every outside call of the scheduler, the
// planner, the rotator, the sweeper and the announcer: a decorator around each
// of their ports passes it, so the list of points follows from the interfaces.
//
// Only programs built with the tag crashpoints contain it (internal/app);
// docs/testing.md says how tests use it.
package crash
