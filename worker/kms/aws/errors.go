package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// busyFor is when a key that is being rotated is asked again.
const busyFor = time.Minute

// call is one call of AWS KMS.
type call struct {
	doing      string // "making a key like"
	what       string // the key
	permission string // what it needs: "kms:CreateKey"
	change     bool   // doing it twice would be wrong
	harmless   bool   // it changes something, but may be done again
}

// do makes one call, within the time limit, and says what its error means.
func (c *Client) do(ctx context.Context, r *region, what call, f func(ctx context.Context, opts ...func(*awskms.Options)) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx, flight := kms.Follow(ctx, what.change)
	var opts []func(*awskms.Options)
	if what.change || what.harmless {
		opts = append(opts, once)
	}
	if err := f(ctx, opts...); err != nil {
		return c.fail(ctx, failed{Call: kms.Call{Doing: what.doing, What: what.what, Flight: flight}, permission: what.permission, region: r.name}, err)
	}
	return nil
}

// failed is a call that went wrong.
type failed struct {
	kms.Call
	permission string
	region     string
}

// fail says what the error of a call means.
func (c *Client) fail(ctx context.Context, what failed, err error) *keyturn.SystemError {
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !what.Flight.Tried() && ctx.Err() == nil:
		return c.failBefore(what, api, err)
	case !ok:
		return what.Unanswered(ctx, err, "check spec.kms.aws.endpoint and this machine's certificate authorities")
	}
	code, text := api.ErrorCode(), kms.Clean(api.ErrorMessage(), c.secrets...)
	said := func(hint string) error {
		if text == "" {
			return fmt.Errorf("AWS answered %s (%s)", code, hint)
		}
		return fmt.Errorf("AWS answered %s: %s (%s)", code, text, hint)
	}
	if hint := credentialHint(code); hint != "" {
		return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, fmt.Errorf("AWS answered %s (%s)", code, hint)) // its text quotes the signed request
	}
	switch code {
	case "AccessDeniedException", "AccessDenied":
		return what.Fail(keyturn.KindPermanent, kms.CodeDenied, said(
			"allow "+what.permission+" to the caller, in the policy of the key and, if it delegates to IAM, in the caller's; a key of another account needs a role there: spec.kms.aws.roleArn"))
	case "NotFoundException":
		return what.Fail(keyturn.KindPermanent, kms.CodeNotFound, said(
			"looked for in region "+what.region+": is it in another region or account? A key of another account needs its full ARN"))
	case "DisabledException", "KMSInvalidStateException":
		return what.Fail(keyturn.KindPermanent, kms.CodeUnusable, said("enable the key, or cancel its deletion"))
	case "InvalidArnException", "ValidationException":
		return what.Fail(keyturn.KindPermanent, kms.CodeInvalid, said("check the id of the key"))
	case "LimitExceededException":
		return what.Fail(keyturn.KindPermanent, kms.CodeQuota, said("a quota of AWS KMS is used up: keys of the account, or 25 on-demand rotations of the key"))
	case "ConflictException":
		e := what.Fail(keyturn.KindTransient, kms.CodeBusy, said("AWS is rotating the key, or about to"))
		e.RetryAfter = busyFor
		return e
	case "MalformedPolicyDocumentException":
		return what.Fail(keyturn.KindPermanent, kms.CodeRefused, said(
			"the policy of the key in use can't be put on a new one: does it name a user or role that is gone, or leave out the caller?"))
	case "UnsupportedOperationException", "UnknownOperationException":
		return what.Fail(keyturn.KindPermanent, kms.CodeUnusable, said("the key is of a kind that does not allow it"))
	}
	return c.failByStatus(what, err, code, said)
}

// failByStatus is for codes without a meaning of their own.
func (c *Client) failByStatus(what failed, err error, code string, said func(hint string) error) *keyturn.SystemError {
	status := what.Flight.Status()
	var header http.Header
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && resp.Response != nil && resp.Response.Response != nil {
		header = resp.Response.Header
	}
	_, throttle := retry.DefaultThrottleErrorCodes[code]
	switch {
	case throttle || status == http.StatusTooManyRequests:
		e := what.Fail(keyturn.KindTransient, kms.CodeThrottled, said("too many calls of AWS KMS in this account and region"))
		e.RetryAfter = kms.RetryAfter(header)
		return e
	case status >= http.StatusInternalServerError, status == http.StatusRequestTimeout, status == 0,
		code == "KMSInternalException", code == "DependencyTimeoutException", code == "KeyUnavailableException":
		e := what.Unclear(kms.CodeServer, said("trouble at AWS"))
		e.RetryAfter = kms.RetryAfter(header)
		return e
	case status < http.StatusBadRequest: // an answer that can't be read
		return what.Unclear(kms.CodeServer, said("not understood"))
	default:
		return what.Fail(keyturn.KindPermanent, kms.CodeRefused, said("refused"))
	}
}

// failBefore is for calls that never came to a request: there was nothing to sign it with.
func (c *Client) failBefore(what failed, sts smithy.APIError, err error) *keyturn.SystemError {
	if sts != nil { // of a role that can't be assumed
		hint := credentialHint(sts.ErrorCode())
		if hint == "" {
			return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, fmt.Errorf(
				"AWS STS answered %s: %s (check spec.kms.aws.roleArn, and that the role trusts the caller)", sts.ErrorCode(), kms.Clean(sts.ErrorMessage(), c.secrets...)))
		}
		return what.Fail(keyturn.KindPermanent, kms.CodeCredentials, fmt.Errorf("AWS STS answered %s (%s)", sts.ErrorCode(), hint))
	}
	return what.Fail(keyturn.KindTransient, kms.CodeCredentials, fmt.Errorf(
		"no credentials for AWS: %s (set spec.kms.aws.accessKeyId and secretAccessKey, or give this process credentials of its own)",
		kms.Clean(kms.Root(err).Error(), c.secrets...)))
}

// credentialHint says what to do about credentials that AWS refused; empty: it is not about them.
func credentialHint(code string) string {
	const where = "check spec.kms.aws.accessKeyId and secretAccessKey, or this process's own credentials"
	switch code {
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired":
		return "the session token has expired: renew spec.kms.aws.sessionToken, and check this machine's clock"
	case "UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"AuthFailure", "IncompleteSignature", "IncompleteSignatureException", "OptInRequired", "NotAuthorized":
		return "the access key is not known: " + where
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		return "the secret access key is wrong, or this machine's clock: " + where
	}
	return ""
}
