// Package atlas simulates MongoDB Atlas as far as keys go: projects whose data is encrypted with customer-managed
// keys, their clusters, snapshots and alert configurations, in version 2 and 1.0 of the Administration API, with
// service accounts and API keys, versions, rate limits, the codes of its errors, and faults.
//
// Whether a key can be used it asks whoever keeps them (Config.Keys), as Atlas does. What really happened is in
// Truth, and every PATCH that came in, with its body, in Patches.
package atlas
