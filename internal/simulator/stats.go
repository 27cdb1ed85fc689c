package simulator

import "sync/atomic"

// counter counts.
type counter struct{ n atomic.Int64 }

func (c *counter) inc()       { c.n.Add(1) }
func (c *counter) get() int64 { return c.n.Load() }
func (c *counter) reset()     { c.n.Store(0) }

// gauge counts what is under way and remembers the most that ever was.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for {
		most := g.most.Load()
		if n <= most || g.most.CompareAndSwap(most, n) {
			return
		}
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// endpoint is one thing that can be asked for.
type endpoint int

const (
	endpointUnknown endpoint = iota
	endpointRoot
	endpointAllClusters
	endpointGroups
	endpointGroup
	endpointClusters
	endpointCluster
	endpointBackupConfigs
	endpointBackupConfig
	endpointGetKey
	endpointPutKey
	endpointAutomationConfig
	endpointHosts
	endpointNoSecrets
	endpointAutomationStatus
	endpointLocks
	endpointSnapshots
	endpointPutConfig
	endpointPutNoSecrets
	endpointCount
)

// endpointNames returns what the endpoints are called in Stats.
func endpointNames() [endpointCount]string {
	return [endpointCount]string{
		"unknown",
		"GET /",
		"GET /clusters",
		"GET /groups",
		"GET /groups/{id}",
		"GET /groups/{id}/clusters",
		"GET /groups/{id}/clusters/{id}",
		"GET /groups/{id}/backupConfigs",
		"GET /groups/{id}/backupConfigs/{id}",
		"GET /groups/{id}/backupConfigs/{id}/encryptionKey",
		"PUT /groups/{id}/backupConfigs/{id}/encryptionKey",
		"GET /groups/{id}/automationConfig",
		"GET /groups/{id}/hosts",
		"GET /groups/{id}/automationConfig/noSecrets",
		"GET /groups/{id}/automationStatus",
		"GET /groups/{id}/controlledFeature",
		"GET /groups/{id}/clusters/{id}/snapshots",
		"PUT /groups/{id}/automationConfig",
		"PUT /groups/{id}/automationConfig/noSecrets",
	}
}

// Stats is what the simulator counted since it started, or since the counts
// were last reset.
type Stats struct {
	Requests     int64            `json:"requests"`     // of the API, also those that were refused
	Unauthorized int64            `json:"unauthorized"` // 401s by digest authentication, challenges included
	InFlight     int64            `json:"inFlight"`
	MaxInFlight  int64            `json:"maxInFlight"`
	Processed    int64            `json:"putsProcessed"` // PUTs that turned a key, late ones included
	Refused      int64            `json:"putsRefused"`   // PUTs of what can't be rotated
	LatePending  int64            `json:"latePending"`   // PUTs that will still be executed
	Endpoints    map[string]int64 `json:"endpoints"`
	Faults       map[string]int64 `json:"faults"`
	Keys         []KeyStats       `json:"keys"` // one for each API key, which is one for each target of a client
}

// KeyStats counts the requests with one API key.
type KeyStats struct {
	PublicKey   string `json:"publicKey"`
	Requests    int64  `json:"requests"`
	InFlight    int64  `json:"inFlight"`
	MaxInFlight int64  `json:"maxInFlight"`
}

// stats is what is counted.
type stats struct {
	requests, unauthorized, processed, refused counter
	inFlight                                   gauge
	latePending                                atomic.Int64
	endpoints                                  [endpointCount]counter
	faults                                     [faultCount]counter
}

// Stats returns the counts.
func (s *Simulator) Stats() Stats {
	st := &s.stats
	out := Stats{
		Requests: st.requests.get(), Unauthorized: st.unauthorized.get(),
		InFlight: st.inFlight.now.Load(), MaxInFlight: st.inFlight.most.Load(),
		Processed: st.processed.get(), Refused: st.refused.get(), LatePending: st.latePending.Load(),
		Endpoints: map[string]int64{}, Faults: map[string]int64{},
	}
	for e, name := range endpointNames() {
		if n := st.endpoints[e].get(); n > 0 {
			out.Endpoints[name] = n
		}
	}
	for f, name := range faultNames() {
		if n := st.faults[f].get(); n > 0 {
			out.Faults[name] = n
		}
	}
	for _, acc := range s.auth.order {
		out.Keys = append(out.Keys, KeyStats{
			PublicKey: acc.key.Public, Requests: acc.requests.get(),
			InFlight: acc.inFlight.now.Load(), MaxInFlight: acc.inFlight.most.Load(),
		})
	}
	return out
}

// ResetStats starts all counts anew; what is under way stays.
func (s *Simulator) ResetStats() {
	st := &s.stats
	counters := []*counter{&st.requests, &st.unauthorized, &st.processed, &st.refused}
	for i := range st.endpoints {
		counters = append(counters, &st.endpoints[i])
	}
	for i := range st.faults {
		counters = append(counters, &st.faults[i])
	}
	for _, acc := range s.auth.order {
		counters = append(counters, &acc.requests)
		acc.inFlight.most.Store(acc.inFlight.now.Load())
	}
	for _, c := range counters {
		c.reset()
	}
	st.inFlight.most.Store(st.inFlight.now.Load())
}
