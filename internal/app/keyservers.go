package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/retain"
	"github.com/keyturn/keyturn/worker/kmip"
)

// keyServers makes clients of the targets' KMIP servers. Certificates are read anew for each: one that was
// renewed is used at the next audit.
type keyServers struct{}

// KeyServer returns a client of a target's KMIP server.
func (keyServers) KeyServer(t keyturn.Target) (retain.KeyServer, error) {
	if t.KMIP == nil {
		return nil, fmt.Errorf("target %s has no KMIP server", t.Name)
	}
	settings, err := kmipTLS(*t.KMIP)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	client, err := kmip.New(kmip.Config{Address: t.KMIP.Address, TLS: settings})
	if err != nil {
		return nil, fmt.Errorf("target %s: spec.kmip: %w", t.Name, err)
	}
	return keyServer{client, t.Name}, nil
}

func kmipTLS(k keyturn.KMIP) (*tls.Config, error) {
	if k.CertFile == "" {
		return nil, errors.New("spec.kmip has no certFile and keyFile: a KMIP server is asked over mutual TLS")
	}
	pair, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("spec.kmip: reading certFile and keyFile: %w", err)
	}
	settings := &tls.Config{Certificates: []tls.Certificate{pair}, ServerName: k.ServerName, MinVersion: tls.VersionTLS12}
	if k.CAFile == "" {
		return settings, nil
	}
	raw, err := os.ReadFile(k.CAFile)
	if err != nil {
		return nil, fmt.Errorf("spec.kmip.caFile: %w", err)
	}
	settings.RootCAs = x509.NewCertPool()
	if !settings.RootCAs.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("spec.kmip.caFile: %s holds no certificate in PEM form", k.CAFile)
	}
	return settings, nil
}

// keyServer is a KMIP client as internal/retain asks it.
type keyServer struct {
	*kmip.Client
	target string
}

// Describe says what the server is.
func (s keyServer) Describe(ctx context.Context) (string, error) {
	server, err := s.Server(ctx)
	if err != nil {
		return "", err
	}
	if !server.Audits {
		return "", errors.New("the KMIP server does not let this client ask for keys: it needs leave for Locate and Get Attributes")
	}
	return fmt.Sprintf("%s, KMIP %s", server.Vendor, server.Version), nil
}

// Keys asks about keys.
func (s keyServer) Keys(ctx context.Context, ids []string) ([]keyturn.KeyState, error) {
	keys, err := s.Client.Keys(ctx, ids)
	if err != nil {
		return nil, err
	}
	states := make([]keyturn.KeyState, len(keys))
	for i, k := range keys {
		states[i] = keyturn.KeyState{
			Target: s.target, KeyID: k.ID, State: lifeOf(k), Name: k.Name, InitialAt: k.Initial, ActivationAt: k.Activation,
			DeactivationAt: k.Deactivation, CompromiseAt: k.Compromise, DestroyAt: k.Destroy,
		}
		if k.Err != nil {
			states[i].Detail = k.Err.Error()
		}
	}
	return states, nil
}

func lifeOf(k kmip.Key) keyturn.KeyLife {
	switch {
	case k.Err != nil:
		return keyturn.KeyUnclear
	case !k.Found:
		return keyturn.KeyMissing
	}
	switch k.State {
	case kmip.StatePreActive:
		return keyturn.KeyPreActive
	case kmip.StateActive:
		return keyturn.KeyActive
	case kmip.StateDeactivated:
		return keyturn.KeyDeactivated
	case kmip.StateCompromised:
		return keyturn.KeyCompromised
	case kmip.StateDestroyed, kmip.StateDestroyedCompromised:
		return keyturn.KeyDestroyed
	default:
		return keyturn.KeyUnclear
	}
}
