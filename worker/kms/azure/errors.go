package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// bodyLimit is how much of an error's body is read.
const bodyLimit = 64 << 10

// failed is a call that went wrong.
type failed struct {
	kms.Call
	permission string
	vault      string
}

// problem is the body of a vault's error.
// https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses#error-responses
type problem struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Inner   *problem `json:"innererror"`
}

// fail says what the error of a call means.
func (c *Client) fail(ctx context.Context, what failed, err error) *keyturn.SystemError {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return c.failWithoutAnswer(ctx, what, err)
	}
	p := problemOf(answer)
	inner := ""
	if p.Inner != nil {
		inner = p.Inner.Code
	}
	said := func(hint string) error {
		return fmt.Errorf("azure answered %d %s: %s (%s)", answer.StatusCode, kms.Clean(p.Code), kms.Clean(p.Message, c.secret), hint)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized:
		return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, said("is spec.kms.azure.tenantId the tenant of the vault?"))
	case code == http.StatusForbidden && inner == "ForbiddenByFirewall":
		return what.Fail(keyturn.KindPermanent, kms.CodeDenied, said("let this machine's address through the vault's firewall"))
	case code == http.StatusForbidden && inner == "KeyDisabled":
		return what.Fail(keyturn.KindPermanent, kms.CodeUnusable, said("enable the key"))
	case code == http.StatusForbidden:
		return what.Fail(keyturn.KindPermanent, kms.CodeDenied, said("grant "+what.permission+" on the key to the application: role Key Vault Crypto Officer, or an access policy"))
	case code == http.StatusNotFound:
		return what.Fail(keyturn.KindPermanent, kms.CodeNotFound, said("is it in another vault than "+what.vault+"?"))
	case code == http.StatusTooManyRequests:
		e := what.Fail(keyturn.KindTransient, kms.CodeThrottled, said("too many calls of the vault"))
		e.RetryAfter = retryAfter(answer)
		return e
	case code == http.StatusConflict:
		return what.Fail(keyturn.KindTransient, kms.CodeBusy, said("the key is being deleted or recovered"))
	case code >= http.StatusInternalServerError, code == http.StatusRequestTimeout, code < http.StatusBadRequest:
		e := what.Unclear(kms.CodeServer, said("trouble at Azure"))
		e.RetryAfter = retryAfter(answer)
		return e
	default:
		return what.Fail(keyturn.KindPermanent, kms.CodeRefused, said("refused"))
	}
}

// problemOf reads the body of an error, if it is one of a vault's.
func problemOf(answer *azcore.ResponseError) problem {
	var body struct {
		Error problem `json:"error"`
	}
	_ = json.Unmarshal(bodyOf(answer.RawResponse), &body) // it may be a proxy's page
	if body.Error.Code == "" {
		body.Error.Code = answer.ErrorCode
	}
	return body.Error
}

// bodyOf reads the body of an answer, which the library has buffered.
func bodyOf(resp *http.Response) []byte {
	if resp == nil || resp.Body == nil {
		return nil
	}
	if s, ok := resp.Body.(io.Seeker); ok {
		_, _ = s.Seek(0, io.SeekStart) // a buffer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return nil
	}
	return body
}

func (c *Client) failWithoutAnswer(ctx context.Context, what failed, err error) *keyturn.SystemError {
	if e, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		if e.RawResponse != nil {
			return c.failOfIdentity(what, e.RawResponse)
		}
		if ctx.Err() == nil {
			return what.Fail(keyturn.KindTransient, kms.CodeCredentials, fmt.Errorf("no token from Azure: %s", firstLine(e, c.secret)))
		}
	}
	_, network := errors.AsType[*url.Error](err)
	if !network && ctx.Err() == nil && !what.Flight.Tried() {
		return what.Fail(keyturn.KindTransient, kms.CodeCredentials, fmt.Errorf(
			"no token for Azure: %s (set spec.kms.azure.tenantId, clientId and clientSecret, or give this process credentials of its own)", firstLine(err, c.secret)))
	}
	return what.Unanswered(ctx, err, "set spec.kms.azure.caFile to the certificate of the authority that signed the server's")
}

// failOfIdentity says what an answer of Microsoft Entra ID means.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func (c *Client) failOfIdentity(what failed, resp *http.Response) *keyturn.SystemError {
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(bodyOf(resp), &body) // it may be a proxy's page
	hint := "check spec.kms.azure.tenantId, clientId and clientSecret"
	switch d := body.Description; {
	case strings.Contains(d, "AADSTS7000222"):
		hint = "the client secret has expired: make a new one for the application, and put it where spec.kms.azure.clientSecret leads"
	case strings.Contains(d, "AADSTS7000215"):
		hint = "the client secret is wrong: spec.kms.azure.clientSecret must lead to its value, not to its id"
	case strings.Contains(d, "AADSTS700016"):
		hint = "the application is not in the tenant: check spec.kms.azure.clientId and tenantId"
	case strings.Contains(d, "AADSTS90002"), strings.Contains(d, "AADSTS900023"):
		hint = "there is no such tenant: check spec.kms.azure.tenantId"
	}
	text := fmt.Errorf("no token from Azure: %d %s: %s (%s)", resp.StatusCode, kms.Clean(body.Error), kms.Clean(body.Description, c.secret), hint)
	if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
		return what.Fail(keyturn.KindTransient, kms.CodeCredentials, text)
	}
	return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, text)
}

// firstLine shortens the texts of Azure's libraries, which have many lines.
func firstLine(err error, secret string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return kms.Clean(line, secret)
}
