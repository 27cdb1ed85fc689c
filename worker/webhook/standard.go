package webhook

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// standard is https://www.standardwebhooks.com with a CloudEvent 1.0 as body. The id is the delivery's:
// the same at each attempt. While the secret is changed there are two signatures, the new secret's first.
func standard(known secrets, e event, now time.Time) (call, error) {
	id := e.delivery.String()
	headers := map[string]string{
		"Content-Type":                          "application/cloudevents+json; charset=utf-8",
		standardwebhooks.HeaderWebhookID:        id,
		standardwebhooks.HeaderWebhookTimestamp: strconv.FormatInt(now.Unix(), 10),
	}
	signatures := ""
	for _, key := range []string{known.key, known.previous} {
		if key == "" {
			continue
		}
		signature, err := sign(key, id, now, e.raw)
		if err != nil {
			return call{}, err
		}
		if signatures != "" {
			signatures += " "
		}
		signatures += signature
	}
	if signatures != "" {
		headers[standardwebhooks.HeaderWebhookSignature] = signatures
	}
	return call{headers: headers, body: e.raw}, nil
}

func sign(key, id string, now time.Time, body []byte) (string, error) {
	signer, err := standardwebhooks.NewWebhook(key)
	if err != nil { // its text may show the secret
		return "", errors.New("secret: expected whsec_ and base64: `openssl rand -base64 32` makes what follows whsec_")
	}
	signature, err := signer.Sign(id, now, body)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signature, nil
}
