// Package opsmanager turns the KMIP master keys that Ops Manager encrypts
// backups of FCV 4.0 and earlier with, through its public API v1.0.
//
// https://www.mongodb.com/docs/ops-manager/v6.0/reference/api/kmip-keys/ describes the
// endpoint: GET returns the id of the key in use, PUT makes a new one, one for
// each shard, config server replica set and plain replica set. PUT has no
// idempotency key, so this package sends it once and says of every failure
// whether it can have been carried out. Its answer is never trusted: only GET
// tells which key is in use.
package opsmanager
