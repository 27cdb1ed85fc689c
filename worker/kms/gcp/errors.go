package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// failed is a call that went wrong.
type failed struct {
	kms.Call
	permission string
}

// fail says what the error of a call means.
func fail(ctx context.Context, what failed, err error) *keyturn.SystemError {
	if e, ok := errors.AsType[*tokenError](err); ok {
		return failWithoutToken(ctx, what, e.err)
	}
	answer, ok := errors.AsType[*googleapi.Error](err)
	if !ok {
		return what.Unanswered(ctx, err, "check spec.kms.gcp.endpoint and this machine's certificate authorities")
	}
	status, text := words(answer)
	said := func(hint string) error {
		return fmt.Errorf("google answered %s (%s)", strings.TrimSuffix(status+": "+text, ": "), hint)
	}
	switch code := answer.Code; {
	case code == http.StatusUnauthorized:
		return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, said("check spec.kms.gcp.credentialsJson, or this process's own credentials"))
	case code == http.StatusForbidden && strings.Contains(answer.Body, "SERVICE_DISABLED"):
		return what.Fail(keyturn.KindPermanent, kms.CodeDenied, said("enable the Cloud KMS API in the project"))
	case code == http.StatusForbidden:
		return what.Fail(keyturn.KindPermanent, kms.CodeDenied, said("grant "+what.permission+" on the key to the service account"))
	case code == http.StatusNotFound:
		return what.Fail(keyturn.KindPermanent, kms.CodeNotFound, said("is it in another project or location?"))
	case code == http.StatusTooManyRequests:
		e := what.Fail(keyturn.KindTransient, kms.CodeThrottled, said("a quota of Cloud KMS in this project is used up for now"))
		e.RetryAfter = kms.RetryAfter(answer.Header)
		return e
	case code == http.StatusBadRequest && status == "FAILED_PRECONDITION":
		return what.Fail(keyturn.KindPermanent, kms.CodeUnusable, said("the key or version is in a state that does not allow it"))
	case code == http.StatusConflict:
		return what.Fail(keyturn.KindTransient, kms.CodeBusy, said("somebody else is changing the key"))
	case code >= http.StatusInternalServerError, code == http.StatusRequestTimeout, code < http.StatusBadRequest:
		e := what.Unclear(kms.CodeServer, said("trouble at Google"))
		e.RetryAfter = kms.RetryAfter(answer.Header)
		return e
	default:
		return what.Fail(keyturn.KindPermanent, kms.CodeRefused, said("refused"))
	}
}

// words returns the short word for an error, and the text, of what Google answered.
// https://cloud.google.com/apis/design/errors#http_mapping
func words(e *googleapi.Error) (status, text string) {
	var body struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal([]byte(e.Body), &body) // it may be a proxy's page
	status, text = kms.Clean(body.Error.Status), kms.Clean(body.Error.Message)
	if status == "" {
		status = fmt.Sprint(e.Code)
	}
	return status, text
}

// failWithoutToken is for calls that were never sent: there was no token for them.
func failWithoutToken(ctx context.Context, what failed, err error) *keyturn.SystemError {
	const hint = "check spec.kms.gcp.credentialsJson, or give this process credentials of its own"
	answer, ok := errors.AsType[*auth.Error](err)
	if !ok {
		if ctx.Err() != nil {
			return what.Unanswered(ctx, err, "")
		}
		return what.Fail(keyturn.KindTransient, kms.CodeCredentials, fmt.Errorf("no token from Google: %s (%s)", kms.Clean(kms.Root(err).Error()), hint))
	}
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(answer.Body, &body) // it may be a proxy's page
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	text := fmt.Errorf("no token from Google: it answered %d %s: %s (%s)", status, kms.Clean(body.Error), kms.Clean(body.Description), hint)
	if answer.Temporary() || status >= http.StatusInternalServerError || status == 0 {
		return what.Fail(keyturn.KindTransient, kms.CodeCredentials, text)
	}
	return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, text)
}
