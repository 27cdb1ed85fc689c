package app

import "github.com/keyturn/keyturn/internal/doctor"

// doctor looks at this process's parts and at all targets.
func (s *Server) doctor() *doctor.Doctor {
	var probes []doctor.Probe
	for _, check := range s.checks() {
		probes = append(probes, doctor.Probe{Name: check.Name, Run: check.Run, Advice: check.Advice})
	}
	return doctor.New(doctor.Config{Systems: s.clients, Targets: s.clients, Store: s.store, Probes: probes})
}
