// Package atlas turns the keys that Atlas projects encrypt their data with, which are customer-managed keys in AWS
// KMS, Azure Key Vault or Google Cloud KMS, through version 2 or 1.0 of Atlas's Administration API.
//
// A unit is a project and one of its providers. A turn makes a key in the provider's KMS, names it to the project
// with a PATCH of encryptionAtRest, and waits until Atlas has found it valid and the project's clusters are at rest
// again. The PATCH carries nothing but the key's id, and never switches anything on or off.
//
// https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/#tag/Encryption-at-Rest-using-Customer-Key-Management
package atlas
