package app

import (
	"context"
	"fmt"
	"reflect"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/atlas"
	"github.com/keyturn/keyturn/worker/kms/aws"
	"github.com/keyturn/keyturn/worker/kms/azure"
	"github.com/keyturn/keyturn/worker/kms/gcp"
)

// openAtlas makes a client of Atlas with those of the key services that its projects may use.
func (s *systems) openAtlas(ctx context.Context, t keyturn.Target, found secrets) (system, error) {
	keys, err := s.keyServices(ctx, t, found)
	if err != nil {
		return nil, err
	}
	client, err := atlas.New(atlas.Config{
		Target:    t,
		PublicKey: found[t.Credentials.PublicKey], PrivateKey: found[t.Credentials.PrivateKey],
		ClientID: found[t.Credentials.ClientID], ClientSecret: found[t.Credentials.ClientSecret],
		Keys: keys, Logger: s.log, Version: s.version,
	})
	if err != nil {
		for _, k := range keys {
			k.Close()
		}
		return nil, err
	}
	return client, nil
}

// keyServices makes a client of each provider's key service. Which of them a target's projects use is not known
// yet: what the spec does not speak of may be missing without harm, until a unit needs it.
func (s *systems) keyServices(ctx context.Context, t keyturn.Target, found secrets) (map[keyturn.KMSProvider]atlas.KeyService, error) {
	spec := t.KMS
	makers := []struct {
		provider keyturn.KMSProvider
		spec     any
		open     func() (atlas.KeyService, error)
	}{
		{keyturn.KMSProviderAWS, spec.AWS, func() (atlas.KeyService, error) {
			return aws.New(ctx, aws.Config{
				Spec: spec.AWS, AccessKeyID: found[spec.AWS.AccessKeyID], SecretAccessKey: found[spec.AWS.SecretAccessKey],
				SessionToken: found[spec.AWS.SessionToken], Logger: s.log, Version: s.version,
			})
		}},
		{keyturn.KMSProviderAzure, spec.Azure, func() (atlas.KeyService, error) {
			return azure.New(ctx, azure.Config{Spec: spec.Azure, ClientSecret: found[spec.Azure.ClientSecret], Logger: s.log, Version: s.version})
		}},
		{keyturn.KMSProviderGCP, spec.GCP, func() (atlas.KeyService, error) {
			return gcp.New(ctx, gcp.Config{Spec: spec.GCP, CredentialsJSON: found[spec.GCP.CredentialsJSON], Logger: s.log, Version: s.version})
		}},
	}
	keys := map[keyturn.KMSProvider]atlas.KeyService{}
	for _, m := range makers {
		made, err := m.open()
		switch {
		case err == nil:
			keys[m.provider] = made
		case reflect.ValueOf(m.spec).IsZero():
			keys[m.provider] = noKeyService{m.provider, err}
		default:
			for _, k := range keys {
				k.Close()
			}
			return nil, err
		}
	}
	return keys, nil
}

// noKeyService stands for one that there is no client of.
type noKeyService struct {
	provider keyturn.KMSProvider
	cause    error
}

func (n noKeyService) err() error {
	return &keyturn.SystemError{
		Kind: keyturn.KindPermanent, Code: "no_kms", Err: fmt.Errorf("there is no client of its key service: %w: write spec.kms.%s in the target", n.cause, n.provider),
	}
}

func (n noKeyService) Make(context.Context, keyturn.KMSOrder) (keyturn.KMSKey, error) {
	return keyturn.KMSKey{}, n.err()
}

func (n noKeyService) Newest(context.Context, keyturn.KMSRef) (keyturn.KMSKey, error) {
	return keyturn.KMSKey{}, n.err()
}

func (n noKeyService) Describe(context.Context, keyturn.KMSRef) (keyturn.KMSKey, error) {
	return keyturn.KMSKey{}, n.err()
}

func (n noKeyService) Disable(context.Context, keyturn.KMSRef) error { return n.err() }

func (noKeyService) Close() {}
