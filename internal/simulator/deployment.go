package simulator

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// membersPerSet is how many mongod processes every replica set has.
const membersPerSet = 3

const port = 27017

// process is one mongod or mongos.
type process struct {
	entity *entity // the replica set, or the sharded cluster of a mongos
	member int
}

func (p process) mongos() bool { return p.entity.typ == typeSharded }

// nameParts are the parts of the name; between is what stands between words.
func (p process) nameParts(between string) [4]string {
	if p.mongos() {
		return [4]string{p.entity.clusterName, between, "mongos" + between, strconv.Itoa(p.member)}
	}
	return [4]string{p.entity.replicaSet, between, "", strconv.Itoa(p.member)}
}

func (p process) name() string {
	parts := p.nameParts("_")
	return parts[0] + parts[1] + parts[2] + parts[3]
}

// nameIn writes the name as a field.
func (p process) nameIn(j *jsonBuf, field string) {
	parts := p.nameParts("_")
	j.text(field, parts[:]...)
}

// hostnameIn writes the host's name. No name of an estate has an underscore.
func (p process) hostnameIn(j *jsonBuf) {
	parts := p.nameParts("-")
	j.text("hostname", parts[0], parts[1], parts[2], parts[3], ".", p.entity.project.name, ".example.net")
}

// processes returns the processes of a project: three for each replica set,
// one mongos for each sharded cluster.
func processes(p *project) []process {
	live := *p.live.Load()
	all := make([]process, 0, membersPerSet*len(live))
	for _, e := range live {
		if e.typ == typeSharded {
			all = append(all, process{entity: e})
			continue
		}
		for m := range membersPerSet {
			all = append(all, process{entity: e, member: m})
		}
	}
	return all
}

// managed reports whether automation manages the deployment: what isn't has
// hosts, but no processes, and so no feature compatibility version.
func (c *entity) managed() bool { return c.leaveOut != ReasonFCVUnknown }

// configWriter writes the automation configuration of a project.
type configWriter struct {
	j          *jsonBuf
	project    *project
	automation *automation // nil: nothing of it can be changed
	redacted   bool        // without secrets
}

// processSize is about how long a process is, with its part of a replica set.
const processSize = 500

// secret returns a secret of configSecrets, quoted: invented, or redacted.
func (c configWriter) secret(i int) string {
	if c.redacted {
		return configSecrets()[i][1]
	}
	return configSecrets()[i][0]
}

// write writes the configuration, with secrets in it as the real
// one has them.
func (c configWriter) write(version int64) {
	j := c.j
	all := processes(c.project)
	j.b = slices.Grow(j.b, cmp.Or(int(c.project.configSize.Load()), len(all)*processSize))
	before := len(j.b)
	defer func() { c.project.configSize.Store(int64(len(j.b) - before)) }()
	j.open('{')
	j.raw("agentVersion", `{"name":"10.14.29.6350-1"}`)
	if c.automation != nil {
		j.raw("unknownToClients", oddities)
	}
	j.raw("auth", `{"autoPwd":`+c.secret(0)+`,"autoUser":"mms-automation","disabled":false,"key":`+c.secret(1)+`,"keyfile":"/var/lib/mongodb-mms-automation/keyfile"}`)
	j.key("processes")
	j.open('[')
	password := c.secret(2)
	for _, p := range all {
		if p.entity.managed() {
			j.process(p, c.automation != nil, password)
		}
	}
	j.close(']')
	c.replicaSets()
	c.sharding()
	j.num("version", int(version))
	j.close('}')
}

// oddities are things that a configuration may hold and that don't survive a way through floats or structures.
const oddities = ` { "big":12345678901234567890123, "exact":9007199254740993,"float":1.10 ,"tiny":1E-7,
	"text":"Zo\u00eb \/ \ud83d\udd11 \"quoted\" ü","empty":{ },"none":null,"list":[ [],[{}], 0.0 ],"name":"not a process","Processes":[]} `

func (j *jsonBuf) process(p process, odd bool, password string) {
	e := p.entity
	j.open('{')
	j.args(p, password)
	j.num("authSchemaVersion", 5)
	if p.mongos() {
		j.text("cluster", e.clusterName)
	}
	j.bool("disabled", e.leaveOut == ReasonDisabled)
	j.text("featureCompatibilityVersion", e.fcv)
	p.hostnameIn(j)
	if !e.rotatedAt.IsZero() && !p.mongos() {
		j.text(rotatedField, e.rotatedAt.Format(time.RFC3339))
	}
	if odd {
		j.raw("logRotate", `{"sizeThresholdMB":1000.0,"timeThresholdHrs":24,"percentOfDiskspace":0.40}`)
		j.raw("lastRestart", `"2026-01-01T00:00:00.000+00:00"`)
		j.raw("unheardOf", oddities)
	}
	j.bool("manualMode", e.leaveOut == ReasonManualMode)
	p.nameIn(j, "name")
	kind := "mongod"
	if p.mongos() {
		kind = "mongos"
	}
	j.text("processType", kind)
	j.text("version", e.version)
	j.close('}')
}

// args are the settings of a process.
func (j *jsonBuf) args(p process, password string) {
	e := p.entity
	j.key("args2_6")
	j.open('{')
	j.raw("net", `{"port":`+strconv.Itoa(port)+`}`)
	if !p.mongos() {
		j.key("replication")
		j.open('{')
		j.text("replSetName", e.replicaSet)
		j.close('}')
		if e.parent != nil {
			role := "shardsvr"
			if e.typ == typeConfigServer {
				role = "configsvr"
			}
			j.key("sharding")
			j.open('{')
			j.text("clusterRole", role)
			j.close('}')
		}
		if e.modern {
			j.raw("security", e.security(password))
		}
		j.raw("storage", `{"dbPath":"/data"}`)
	}
	j.close('}')
}

// security are the settings of encryption at rest with a KMIP server.
func (c *entity) security(password string) string {
	if c.leaveOut == ReasonFCV42 {
		return `{"authorization":"enabled"}`
	}
	identifier := ""
	if c.leaveOut == ReasonKeyIdentifier {
		identifier = `"keyIdentifier":"1",`
	}
	return `{"enableEncryption":true,"kmip":{` + identifier + `"clientCertificateFile":"/etc/kmip/client.pem","clientCertificatePassword":` + password + `,` +
		`"port":5696,"serverCAFile":"/etc/kmip/ca.pem","serverName":"kmip.example.net"}}`
}

func (c configWriter) replicaSets() {
	j := c.j
	j.key("replicaSets")
	j.open('[')
	for _, e := range *c.project.live.Load() {
		if e.typ == typeSharded || !e.managed() {
			continue
		}
		j.open('{')
		j.text("_id", e.replicaSet)
		j.key("members")
		j.open('[')
		for m := range membersPerSet {
			j.open('{')
			j.num("_id", m)
			j.bool("arbiterOnly", false)
			j.bool("hidden", false)
			process{entity: e, member: m}.nameIn(j, "host")
			j.num("priority", 1)
			j.num("votes", 1)
			j.close('}')
		}
		j.close(']')
		j.text("protocolVersion", "1")
		j.close('}')
	}
	j.close(']')
}

// sharding writes the sharded clusters. The _id of a shard is not the name of
// its replica set, as it needn't be in a real one.
func (c configWriter) sharding() {
	j := c.j
	j.key("sharding")
	j.open('[')
	live := *c.project.live.Load()
	for i, e := range live {
		if e.typ != typeSharded || !e.managed() {
			continue
		}
		j.open('{')
		config := ""
		j.key("shards")
		j.open('[')
		n := 0
		for _, part := range live[i+1:] { // the parts follow their cluster
			if part.parent != e {
				break
			}
			if part.typ == typeConfigServer {
				config = part.replicaSet
				continue
			}
			j.open('{')
			j.text("_id", "shard_", strconv.Itoa(n))
			j.text("rs", part.replicaSet)
			j.raw("tags", "[]")
			j.close('}')
			n++
		}
		j.close(']')
		j.raw("collections", "[]")
		j.text("configServerReplica", config)
		j.text("name", e.clusterName)
		j.close('}')
	}
	j.close(']')
}

// hosts writes the list of hosts, of one cluster if the query says so.
func (c *call) hosts() {
	all := processes(c.project)
	if id := c.query.clusterID; id != "" {
		some := all[:0]
		for _, p := range all {
			if p.entity.id == id || p.entity.parent != nil && p.entity.parent.id == id {
				some = append(some, p)
			}
		}
		all = some
	}
	ping := c.minute()
	c.list(len(all), func(i int) { c.host(all[i], ping) })
}

func (c *call) host(p process, ping string) {
	e := p.entity
	j := &c.buf
	id := objectID(e.index, uint64(p.member)+1) //nolint:gosec // G115: 0 to 2
	j.open('{')
	j.text("clusterId", e.id)
	j.text("created", c.s.started.UTC().Format("2006-01-02T15:04:05Z"))
	j.text("groupId", e.project.id)
	j.bool("hidden", false)
	p.hostnameIn(j)
	j.text("id", id)
	j.text("lastPing", ping)
	c.links("/groups/", e.project.id, "/hosts/", id)
	j.num("port", port)
	if !p.mongos() {
		j.text("replicaSetName", e.replicaSet)
		j.text("replicaStateName", p.state())
	}
	if e.shard != "" && !p.mongos() {
		j.text("shardName", e.shard)
	}
	j.text("typeName", p.hostType())
	j.text("version", e.version)
	j.close('}')
}

func (p process) state() string {
	if p.member == 0 {
		return "PRIMARY"
	}
	return "SECONDARY"
}

func (p process) hostType() string {
	switch {
	case p.mongos():
		return "SHARD_MONGOS"
	case p.entity.typ == typeConfigServer:
		return "SHARD_CONFIG_" + p.state()
	case p.entity.parent != nil:
		return "SHARD_" + p.state()
	default:
		return "REPLICA_" + p.state()
	}
}
