package opsmanager

// automationConfig is the little that is needed of it.
// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/automation-config/
type automationConfig struct {
	Processes   []process        `json:"processes"`
	ReplicaSets []replicaSet     `json:"replicaSets"`
	Sharding    []shardedCluster `json:"sharding"`
}

type process struct {
	Name        string `json:"name"`
	ProcessType string `json:"processType"`
	FCV         string `json:"featureCompatibilityVersion"`
}

type replicaSet struct {
	ID      string   `json:"_id"`
	Members []member `json:"members"`
}

type member struct {
	Host string `json:"host"` // the name of a process
}

type shardedCluster struct {
	Name         string  `json:"name"`
	ConfigServer string  `json:"configServerReplica"`
	Shards       []shard `json:"shards"`
}

type shard struct {
	ReplicaSet string `json:"rs"` // and not _id, which need not be the replica set's name
}

func (ac *automationConfig) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "processes":
			ac.Processes = scanList[process](s)
		case "replicaSets":
			ac.ReplicaSets = scanList[replicaSet](s)
		case "sharding":
			ac.Sharding = scanList[shardedCluster](s)
		default:
			s.skip()
		}
	}
}

func (p *process) scan(s *scanner) {
	s.object(func(name string) *string {
		switch name {
		case "name":
			return &p.Name
		case "processType":
			return &p.ProcessType
		case "featureCompatibilityVersion":
			return &p.FCV
		default:
			return nil
		}
	})
}

func (rs *replicaSet) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "_id":
			s.string(&rs.ID)
		case "members":
			rs.Members = scanList[member](s)
		default:
			s.skip()
		}
	}
}

func (m *member) scan(s *scanner) {
	s.object(func(name string) *string {
		if name == "host" {
			return &m.Host
		}
		return nil
	})
}

func (sc *shardedCluster) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "name":
			s.string(&sc.Name)
		case "configServerReplica":
			s.string(&sc.ConfigServer)
		case "shards":
			sc.Shards = scanList[shard](s)
		default:
			s.skip()
		}
	}
}

func (sh *shard) scan(s *scanner) {
	s.object(func(name string) *string {
		if name == "rs" {
			return &sh.ReplicaSet
		}
		return nil
	})
}
