// Package simulator is a simulated MongoDB Ops Manager: projects, sharded
// clusters and replica sets behind the parts of the public API that a rotation
// needs, with digest authentication by the server's rules, faults that can be
// switched on, and a record of every change it really made.
//
// It keeps everything in memory. docs/simulator.md says what it simulates and
// what it doesn't.
package simulator
