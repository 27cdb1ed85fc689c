package opsmanager

import (
	"encoding/json"
	"fmt"
)

// plan is the automation config, made ready to look replica sets up in. It keeps no part of the text that the config
// was read from: it would keep all of it.
type plan struct {
	version  int64
	members  map[string][]member // by replica set
	double   map[string]bool     // replica sets that are listed more than once
	mongods  map[string]mongod   // by name of a process
	shardOf  map[string][]string // by replica set: sharded clusters that it is a shard of
	configOf map[string][]string // the same for config servers
	sharded  map[string]bool     // names of sharded clusters
}

// How much text of a config there is for each process and replica set, about.
const (
	processText    = 512
	replicaSetText = 3 * processText
)

// reset makes p the plan of a config with nothing in it.
func (p *plan) reset() {
	p.version = 0
	p.resetProcesses(0)
	p.resetReplicaSets(0)
	p.resetSharding()
}

// What begins a list makes room for what a config of that length has. Of a list that is there twice the later one counts.

func (p *plan) resetProcesses(length int) { p.mongods = make(map[string]mongod, length/processText) }

func (p *plan) resetReplicaSets(length int) {
	p.members, p.double = make(map[string][]member, length/replicaSetText), make(map[string]bool)
}

func (p *plan) resetSharding() {
	p.shardOf, p.configOf, p.sharded = make(map[string][]string), make(map[string][]string), make(map[string]bool)
}

func (p *plan) addProcess(process *process, k *keeper) {
	name := k.own(process.Name)
	m := newMongod(process, k)
	_, m.double = p.mongods[name]
	p.mongods[name] = m
}

func (p *plan) addReplicaSet(rs *replicaSet, k *keeper) {
	id := k.own(rs.ID)
	if _, ok := p.members[id]; ok {
		p.double[id] = true
	}
	members := make([]member, len(rs.Members))
	for i, m := range rs.Members {
		members[i] = member{Host: k.own(m.Host), Arbiter: loose(k.own(string(m.Arbiter)))}
	}
	p.members[id] = members
}

func (p *plan) addSharded(sc *shardedCluster, k *keeper) {
	name := k.own(sc.Name)
	p.sharded[name] = true
	only := []string{name} // has no room: what is appended goes elsewhere
	add := func(to map[string][]string, replicaSet string) {
		if names := to[replicaSet]; names != nil {
			to[replicaSet] = append(names, name)
		} else {
			to[k.own(replicaSet)] = only
		}
	}
	add(p.configOf, sc.ConfigServer)
	for _, shard := range sc.Shards {
		add(p.shardOf, shard.ReplicaSet)
	}
}

// scan reads a config without making lists of all of it first.
func (p *plan) scan(s *scanner) {
	k := new(keeper)
	p.reset()
	for name := range s.fields() {
		switch name {
		case "processes":
			p.resetProcesses(len(s.text))
			for range s.elements() {
				var one process
				one.scan(s)
				p.addProcess(&one, k)
			}
		case "replicaSets":
			p.resetReplicaSets(len(s.text))
			var one replicaSet
			for range s.elements() {
				one = replicaSet{Members: one.Members[:0]}
				one.scan(s)
				p.addReplicaSet(&one, k)
			}
		case "sharding":
			p.resetSharding()
			var one shardedCluster
			for range s.elements() {
				one = shardedCluster{Shards: one.Shards[:0]}
				one.scan(s)
				p.addSharded(&one, k)
			}
		case "version":
			var version loose
			s.loose(&version)
			p.version = version.number()
		default:
			s.skip()
		}
	}
}

// UnmarshalJSON reads what scan does.
func (p *plan) UnmarshalJSON(b []byte) error {
	var ac automationConfig
	if err := json.Unmarshal(b, &ac); err != nil {
		return fmt.Errorf("reading an automation config: %w", err)
	}
	k := new(keeper)
	p.reset()
	p.version = ac.Version.number()
	for i := range ac.Processes {
		p.addProcess(&ac.Processes[i], k)
	}
	for i := range ac.ReplicaSets {
		p.addReplicaSet(&ac.ReplicaSets[i], k)
	}
	for i := range ac.Sharding {
		p.addSharded(&ac.Sharding[i], k)
	}
	return nil
}
