package api

import (
	"context"
	"net/http"

	"github.com/keyturn/keyturn"
)

// WhoAmI is what GET /api/v1/whoami answers.
type WhoAmI struct {
	Name    string       `json:"name" doc:"As it is recorded: token:NAME, or person:NAME."`
	Role    keyturn.Role `json:"role"`
	TokenID string       `json:"tokenId,omitempty" doc:"Of a token's bearer: its id, with which it can be revoked."`
}

type whoAmIOutput struct {
	Body WhoAmI
}

func (s *server) registerWhoAmI() {
	handle(s, operation{
		id: "who-am-i", method: http.MethodGet, path: "/whoami", role: keyturn.RoleViewer, tag: "server",
		summary: "Who asks, and what they may do",
	}, func(ctx context.Context, _ *struct{}) (*whoAmIOutput, error) {
		who, _ := ctx.Value(callerKey{}).(keyturn.Caller)
		out := &whoAmIOutput{Body: WhoAmI{Name: who.Name, Role: who.Role}}
		if id, ok := ctx.Value(bearerKey{}).(keyturn.ID); ok {
			out.Body.TokenID = id.String()
		}
		return out, nil
	})
}
