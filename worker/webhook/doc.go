// Package webhook tells receivers what happened, in the language of each: one attempt at a time.
//
// It decides nothing about retries: worker does, by what SendResult says. An attempt follows no redirect,
// reads little of the answer, verifies certificates always, and connects to no private address that the
// webhook does not allow (guard.go). Nothing it returns shows a secret or the URL, which may be one.
package webhook
