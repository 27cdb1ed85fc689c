// Package keyturn holds the nouns of Keyturn: targets, units, policies, slots,
// rotations, tasks, intents and key records, with their states and the
// transitions that are allowed between them.
//
// It imports the standard library only. Everything else in this module depends
// on it; it depends on nothing. The words are those of docs/vocabulary.md.
package keyturn
