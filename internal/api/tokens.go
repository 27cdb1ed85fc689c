package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
)

// CreatedToken is a new token. It is the only time that the secret is shown.
type CreatedToken struct {
	keyturn.Token
	Secret string `json:"token" doc:"The secret. It is not stored and can't be shown again."`
}

type createTokenInput struct {
	Body struct {
		Name      string           `json:"name" minLength:"1" maxLength:"63" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"Who or what it is for; recorded with what it does."`
		Role      string           `json:"role" enum:"viewer,operator,admin" doc:"viewer reads, operator also rotates, pauses and resumes, admin also applies and manages tokens."`
		ExpiresIn keyturn.Duration `json:"expiresIn,omitempty" doc:"How long it is valid, such as 90d; empty: until it is revoked."`
	}
}

type createTokenOutput struct {
	Body CreatedToken
}

type tokenIDInput struct {
	ID string `path:"id" doc:"The token's id, not its secret."`
}

func (s *server) registerTokens() {
	const tag = "tokens"
	handle(s, operation{
		id: "list-tokens", method: http.MethodGet, path: "/tokens", role: keyturn.RoleAdmin, tag: tag,
		summary: "List tokens, without their secrets",
	}, s.listTokens)
	handle(s, operation{
		id: "create-token", method: http.MethodPost, path: "/tokens", role: keyturn.RoleAdmin, tag: tag,
		summary: "Make a token; the answer shows its secret once", status: http.StatusCreated,
	}, s.createToken)
	handle(s, operation{
		id: "revoke-token", method: http.MethodDelete, path: "/tokens/{id}", role: keyturn.RoleAdmin, tag: tag,
		summary: "Revoke a token, everywhere within seconds", status: http.StatusNoContent,
	}, s.revokeToken)
}

func (s *server) listTokens(ctx context.Context, _ *struct{}) (*listOutput[keyturn.Token], error) {
	tokens, err := s.Store.Tokens(ctx)
	return listed(tokens, "", err)
}

func (s *server) createToken(ctx context.Context, in *createTokenInput) (*createTokenOutput, error) {
	if in.Body.ExpiresIn < 0 {
		return nil, huma.Error422UnprocessableEntity("body.expiresIn: a token can't have expired before it exists")
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	tokens, err := s.Store.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	if nameInUse(tokens, in.Body.Name, now) {
		return nil, huma.Error409Conflict(fmt.Sprintf("there is a token %q already, and what tokens do is recorded by their name: take another name, or revoke that one", in.Body.Name))
	}
	token := keyturn.Token{ID: keyturn.NewID(now), Name: in.Body.Name, Role: keyturn.Role(in.Body.Role), CreatedAt: now}
	if in.Body.ExpiresIn > 0 {
		expires := now.Add(in.Body.ExpiresIn.Std())
		token.ExpiresAt = &expires
	}
	secret, hash := newSecret()
	if err := s.Store.CreateToken(audited(ctx, "token.create", token.Name, "", map[string]string{"role": in.Body.Role}), token, hash); err != nil {
		return nil, fmt.Errorf("creating the token %q: %w", token.Name, err)
	}
	return &createTokenOutput{Body: CreatedToken{Token: token, Secret: secret}}, nil
}

func (s *server) revokeToken(ctx context.Context, in *tokenIDInput) (*struct{}, error) {
	id, err := parseID("token", in.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Store.RevokeToken(audited(ctx, "token.revoke", id.String(), "", nil), id); err != nil {
		return nil, missing(err, "token", id.String())
	}
	s.tokens.purge()
	return nil, nil //nolint:nilnil // huma answers 204
}
