// Package storm holds the tests that run the real binary as processes and kill
// them, stop them, cut their connections and take their database, their bus and
// their target away, and then compare the history with what really happened
// (internal/checker). docs/testing.md says how to run them, and how to repeat a storm.
package storm
