// Package digest is an http.RoundTripper that logs in by HTTP Digest
// (RFC 7616, RFC 2617, RFC 2069), made for many requests at once.
//
// It asks for one challenge and uses its nonce, counting nc, for up to 50
// seconds or 1,000 requests; a new one is fetched a little ahead, by one
// request, while the others go on with the old. Ops Manager's server forgets a
// nonce after 60 seconds or 1,024 uses and takes each nc once.
//
// A request that is refused although it may only have been unlucky (the nonce
// had become stale, or others used it at the same time and the server insists
// on an order) is sent again with a nonce of its own. A refusal of that one is
// real: the caller gets the 401 with its body.
//
// A method other than GET, HEAD, OPTIONS and TRACE, and a body, are never sent
// without credentials: the challenge is then asked for by a GET of the same URL.
package digest
