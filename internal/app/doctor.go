package app

import (
	"context"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/doctor"
)

// doctor looks at this process's parts and at all targets.
func (s *Server) doctor() *doctor.Doctor {
	var probes []doctor.Probe
	for _, check := range s.checks() {
		probes = append(probes, doctor.Probe{Name: check.Name, Run: check.Run, Advice: check.Advice})
	}
	return doctor.New(doctor.Config{Systems: s.clients, Targets: s.clients, Store: s.store, Probes: probes, KeyServer: describeKeyServer})
}

// describeKeyServer asks a target's KMIP server what it is.
func describeKeyServer(ctx context.Context, t keyturn.Target) (string, error) {
	server, err := keyServers{}.KeyServer(t)
	if err != nil {
		return "", err
	}
	defer server.Close()
	return server.Describe(ctx)
}
