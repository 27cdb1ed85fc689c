package keyturn

import "time"

// Session is somebody's stay at the pages. Only the SHA-256 of its secret is stored.
type Session struct {
	// Token is the API token that it was begun with, whose end is the session's end; zero: the person
	// was named by an OpenID Connect provider.
	Token ID
	// Name is who it is, as it is written down: "token:ci", or "person:ann@example.com".
	Name string
	Role Role
	// Remote is the address that it was begun from.
	Remote    string
	CreatedAt time.Time
	SeenAt    time.Time // the last use, to a minute
	ExpiresAt time.Time // whatever happens
}
