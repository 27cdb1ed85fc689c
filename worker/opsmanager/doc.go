// Package opsmanager turns KMIP master keys through the public API v1.0 of Ops Manager and Cloud Manager, each
// unit in the way that applies to it.
//
// Up to FCV 4.0 the key is that of the unit's backup.
// https://www.mongodb.com/docs/ops-manager/v6.0/reference/api/kmip-keys/ describes the
// endpoint: GET returns the id of the key in use, PUT makes a new one, one for
// each shard, config server replica set and plain replica set. PUT has no
// idempotency key, so this package sends it once and says of every failure
// whether it can have been carried out. Its answer is never trusted: only GET
// tells which key is in use.
//
// From FCV 4.2 on the key is that of the deployment, and the automation agents turn it when the automation config
// gives its processes a later time (docs/automation.md). The config is edited in its bytes and sent as a whole;
// the time is the identity of the rotation, and sending it again turns nothing again.
package opsmanager
