package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// get answers everything but PUT.
func (c *call) get() {
	j := &c.buf
	switch c.endpoint {
	case endpointGetKey:
		if p := c.keyProblem(); p != nil {
			c.fail(p)
			return
		}
		c.answer(http.StatusOK, c.entity.shown())
		return
	case endpointRoot:
		c.root()
	case endpointAllClusters:
		projects := c.projects()
		c.list(len(projects), func(i int) { c.projectClusters(projects[i]) })
	case endpointGroups:
		projects := c.projects()
		c.list(len(projects), func(i int) { c.group(projects[i]) })
	case endpointGroup:
		c.group(c.project)
	case endpointClusters:
		live := *c.project.live.Load()
		heartbeat := c.minute()
		c.list(len(live), func(i int) { c.cluster(live[i], heartbeat) })
	case endpointCluster:
		c.cluster(c.entity, c.minute())
	case endpointBackupConfigs:
		live := *c.project.live.Load()
		c.list(len(live), func(i int) { c.backupConfig(live[i], !c.s.cfg.ListsOmitEncryption) })
	case endpointBackupConfig:
		c.backupConfig(c.entity, true)
	case endpointHosts:
		c.hosts()
	case endpointSnapshots:
		c.snapshots()
	default:
		c.getAutomation()
	}
	c.answer(http.StatusOK, j.b)
}

// projects returns the projects that the key is in.
func (c *call) projects() []*project {
	if c.account.key.NoProjects {
		return nil
	}
	return c.s.estate.projects
}

// minute is the time of the last heartbeat.
func (c *call) minute() string {
	return time.Now().UTC().Truncate(time.Minute).Format(time.RFC3339)
}

// resultSize is about how long a result is.
const resultSize = 350

// list writes a page of n things.
func (c *call) list(n int, each func(i int)) {
	c.listing()
	j, q := &c.buf, &c.query
	from := min(n, (q.pageNum-1)*q.itemsPerPage)
	to := min(n, from+q.itemsPerPage)
	j.b = slices.Grow(j.b, (to-from)*resultSize)
	j.open('{')
	j.key("links")
	j.open('[')
	c.pageLink("self", q.pageNum)
	if q.pageNum > 1 {
		c.pageLink("previous", q.pageNum-1)
	}
	if to < n {
		c.pageLink("next", q.pageNum+1)
	}
	j.close(']')
	j.key("results")
	j.open('[')
	for i := from; i < to; i++ {
		each(i)
	}
	j.close(']')
	if !q.noCount {
		j.num("totalCount", n)
	}
	j.close('}')
}

func (c *call) pageLink(rel string, page int) {
	c.link(rel, c.r.URL.Path[len(apiPrefix):]+"?pageNum="+strconv.Itoa(page)+"&itemsPerPage="+strconv.Itoa(c.query.itemsPerPage))
}

// link writes a link to the central URL, which is not the server's.
func (c *call) link(rel, path string) {
	j := &c.buf
	j.open('{')
	j.str("href", c.s.central+apiPrefix+path)
	j.str("rel", rel)
	j.close('}')
}

// links writes the link of a thing to itself: its path comes in parts, as for text.
func (c *call) links(path ...string) {
	j := &c.buf
	j.raw("links", `[{"href":"`)
	j.b = append(j.b, c.s.href...)
	for _, part := range path {
		j.b = append(j.b, part...)
	}
	j.b = append(j.b, `","rel":"self"}]`...)
}

func (c *call) root() {
	j := &c.buf
	j.open('{')
	j.str("appName", "MongoDB Ops Manager")
	j.str("build", "0000000000000000000000000000000000000000")
	c.links()
	j.bool("throttling", false)
	j.close('}')
}

func (c *call) group(p *project) {
	sets, shards := 0, 0
	for _, e := range *p.live.Load() {
		switch {
		case e.typ == typeReplicaSet && e.parent != nil:
			shards++
		case e.typ != typeSharded:
			sets++
		}
	}
	j := &c.buf
	j.open('{')
	j.num("activeAgentCount", 1)
	j.str("id", p.id)
	j.str("lastActiveAgent", c.minute())
	c.links("/groups/", p.id)
	j.str("name", p.name)
	j.str("orgId", p.orgID)
	j.bool("publicApiEnabled", true)
	j.num("replicaSetCount", sets)
	j.num("shardCount", shards)
	j.raw("tags", "[]")
	j.close('}')
}

func (c *call) cluster(e *entity, heartbeat string) {
	j := &c.buf
	j.open('{')
	j.text("clusterName", e.clusterName)
	j.text("groupId", e.project.id)
	j.text("id", e.id)
	j.text("lastHeartbeat", heartbeat)
	c.links("/groups/", e.project.id, "/clusters/", e.id)
	if e.replicaSet != "" {
		j.text("replicaSetName", e.replicaSet)
	}
	if e.shard != "" {
		j.text("shardName", e.shard)
	}
	j.text("typeName", string(e.typ))
	j.close('}')
}

func (c *call) backupConfig(e *entity, withEncryption bool) {
	j := &c.buf
	j.open('{')
	j.text("authMechanismName", "NONE")
	j.text("clusterId", e.id)
	if withEncryption {
		j.bool("encryptionEnabled", e.encrypted())
	}
	j.raw("excludedNamespaces", "[]")
	j.text("groupId", e.project.id)
	c.links("/groups/", e.project.id, "/backupConfigs/", e.id)
	j.bool("sslEnabled", false)
	j.text("statusName", e.backupStatus)
	j.text("storageEngineName", "WIRED_TIGER")
	j.close('}')
}

// projectClusters writes what GET /clusters says about a project: sharded
// clusters without their parts.
func (c *call) projectClusters(p *project) {
	j := &c.buf
	j.open('{')
	j.key("clusters")
	j.open('[')
	for _, e := range *p.live.Load() {
		if e.parent == nil {
			c.clusterSummary(e)
		}
	}
	j.close(']')
	j.str("groupId", p.id)
	j.str("groupName", p.name)
	j.str("orgId", p.orgID)
	j.str("orgName", "simulated")
	j.str("planType", "Ops Manager")
	j.raw("tags", "[]")
	j.close('}')
}

func (c *call) clusterSummary(e *entity) {
	kind, nodes := "replica set", membersPerSet
	if e.typ == typeSharded {
		kind = "sharded cluster"
		nodes = 1
		for _, part := range *e.project.live.Load() {
			if part.parent == e {
				nodes += membersPerSet
			}
		}
	}
	j := &c.buf
	j.open('{')
	j.num("alertCount", 0)
	j.bool("authEnabled", true)
	j.str("availability", "available")
	j.bool("backupEnabled", e.leaveOut != ReasonBackupOff)
	j.str("clusterId", e.id)
	j.num("dataSizeBytes", 1<<30)
	j.str("name", e.clusterName)
	j.num("nodeCount", nodes)
	j.bool("sslEnabled", true)
	j.str("type", kind)
	j.key("versions")
	j.open('[')
	j.value(e.version)
	j.close(']')
	j.close('}')
}
