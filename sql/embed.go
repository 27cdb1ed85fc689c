// Package sql embeds the migrations of both dialects. The queries beside them
// are compiled into Go by sqlc (see sqlc.yaml).
package sql

import "embed"

// Migrations holds postgres/migrations and sqlite/migrations, for goose.
//
//go:embed postgres/migrations/*.sql sqlite/migrations/*.sql
var Migrations embed.FS
