package simulator

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const apiPrefix = "/api/public/v1.0"

// call is one request of the API while it is answered.
type call struct {
	s       *Simulator
	w       http.ResponseWriter
	r       *http.Request
	plan    *plan
	account *account

	endpoint endpoint
	groupID  string
	objectID string
	project  *project
	entity   *entity

	query  query
	fault  fault
	hidden time.Duration
	buf    jsonBuf
}

func (c *call) start(s *Simulator, w http.ResponseWriter, r *http.Request) {
	*c = call{s: s, w: w, r: r, plan: s.plan.Load(), buf: jsonBuf{b: c.buf.b[:0]}}
	w.Header()["X-Mongodb-Service-Version"] = s.headers.version
}

// A call's own buffer, and those of big listings, which only those who answer one hold: thousands of calls wait at a time.
const (
	ownBuffer = 64 << 10
	bigBuffer = 4 << 20
)

// end gives c back, and what a big listing made of its buffer to the next one.
func (c *call) end() {
	s, buf := c.s, c.buf
	*c = call{}
	switch size := cap(buf.b); {
	case size <= ownBuffer:
		c.buf = buf
	case size <= bigBuffer:
		s.listings.Put(&buf)
	}
	s.calls.Put(c)
}

// listing takes the buffer of a big listing that was answered before, if there is one.
func (c *call) listing() {
	if big, ok := c.s.listings.Get().(*jsonBuf); ok {
		c.buf.b = big.b[:0]
	}
}

// route finds out what the path asks for, by hand: it runs for every request.
func (c *call) route() *problem {
	path, ok := strings.CutPrefix(c.r.URL.Path, apiPrefix)
	if !ok {
		return noResource(c.r.URL.Path)
	}
	var seg [6]string
	n := split(path, &seg)
	c.groupID, c.objectID = seg[1], seg[3]
	switch {
	case n == 0:
		c.endpoint = endpointRoot
	case n == 1 && seg[0] == "clusters":
		c.endpoint = endpointAllClusters
	case seg[0] != "groups" || n > 5:
	case n == 1:
		c.endpoint = endpointGroups
	case n == 2:
		c.endpoint = endpointGroup
	default:
		c.endpoint = endpointOf(seg[2:n])
	}
	if c.endpoint == endpointNoSecrets { // not an id
		c.objectID = ""
	}
	if c.endpoint == endpointUnknown || c.missing() {
		return noResource(c.r.URL.Path)
	}
	return c.method()
}

// method refuses methods that the endpoint doesn't have.
func (c *call) method() *problem {
	change := endpointUnknown
	switch c.endpoint {
	case endpointGetKey:
		change = endpointPutKey
	case endpointAutomationConfig:
		change = endpointPutConfig
	case endpointNoSecrets:
		change = endpointPutNoSecrets
	}
	put := c.r.Method == http.MethodPut && change != endpointUnknown
	if put {
		c.endpoint = change
		if ct := c.r.Header.Get("Content-Type"); ct != "" && !strings.HasPrefix(ct, "application/json") {
			return badMediaType()
		}
	}
	if !put && c.r.Method != http.MethodGet {
		return badMethod()
	}
	return nil
}

// endpointOf names what is below a group.
func endpointOf(seg []string) endpoint {
	list, one := endpointUnknown, endpointUnknown
	switch seg[0] {
	case "clusters":
		list, one = endpointClusters, endpointCluster
	case "backupConfigs":
		list, one = endpointBackupConfigs, endpointBackupConfig
	case "automationConfig":
		list = endpointAutomationConfig
		if len(seg) == 2 && seg[1] == "noSecrets" {
			one = endpointNoSecrets
		}
	case "automationStatus":
		list = endpointAutomationStatus
	case "controlledFeature":
		list = endpointLocks
	case "hosts":
		list = endpointHosts
	}
	switch {
	case len(seg) == 1:
		return list
	case len(seg) == 2:
		return one
	case seg[0] == "backupConfigs" && seg[2] == "encryptionKey":
		return endpointGetKey
	case seg[0] == "clusters" && seg[2] == "snapshots" && len(seg) == 3:
		return endpointSnapshots
	default:
		return endpointUnknown
	}
}

// split cuts a path into its segments, without the empty one at the end. It
// returns how many there are, at most one more than fit.
func split(path string, seg *[6]string) int {
	path = strings.Trim(path, "/")
	n := 0
	for path != "" && n < len(seg) {
		seg[n], path, _ = strings.Cut(path, "/")
		n++
	}
	return n
}

// find looks the query, the group and the cluster up.
func (c *call) find() *problem {
	if p := c.parseQuery(); p != nil {
		return p
	}
	if c.endpoint < endpointGroup {
		return nil
	}
	if !isID(c.groupID) {
		return invalidGroup(c.groupID)
	}
	if c.account.key.NoProjects {
		return notInGroup()
	}
	c.project = c.s.estate.groups[c.groupID]
	if c.project == nil {
		return noGroup(c.groupID)
	}
	if c.objectID == "" {
		return nil
	}
	if !isID(c.objectID) {
		return invalidCluster(c.objectID)
	}
	c.entity = c.s.estate.cluster(c.project, c.objectID)
	if c.entity == nil {
		return noCluster(c.objectID, c.groupID)
	}
	return nil
}

func isID(s string) bool {
	if len(s) != 24 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// serve answers a request that was let in, with the fault that it meets.
func (c *call) serve(p *problem) {
	c.draw()
	switch c.fault {
	case faultErrorBefore:
		c.fail(unexpected())
		return
	case faultTooMany:
		after := int64(c.plan.retryAfter() / time.Second)
		c.w.Header()["Retry-After"] = []string{strconv.FormatInt(after, 10)}
		c.fail(rateLimited(c.r.URL.Path))
		return
	case faultResetBefore:
		c.abort(true)
	}
	switch {
	case p != nil:
		c.fail(p)
	case c.endpoint == endpointPutKey:
		c.putKey()
	case c.endpoint == endpointPutConfig || c.endpoint == endpointPutNoSecrets:
		c.putConfig()
	default:
		c.get()
	}
}

// draw decides which fault the request meets.
func (c *call) draw() {
	method, index := methodGET, uint64(0)
	if c.endpoint == endpointPutKey || c.endpoint == endpointPutConfig || c.endpoint == endpointPutNoSecrets {
		method = methodPUT
	}
	if c.plan.none[method] {
		return
	}
	draws := &c.s.gets
	switch {
	case c.entity != nil:
		draws, index = &c.entity.draws[method], c.entity.index
	case method == methodPUT && c.project != nil:
		draws, index = &c.project.draws, c.project.index
	}
	c.fault, c.hidden = c.plan.draw(method, index, draws.Add(1))
	if c.fault != faultNone {
		c.s.stats.faults[c.fault].inc()
	}
	if c.hidden > 0 {
		c.s.stats.faults[faultHidden].inc()
	}
}

// putKey turns a unit's key.
func (c *call) putKey() {
	if c.account.key.ReadOnly {
		c.fail(notAllowed())
		return
	}
	if p := c.keyProblem(); p != nil {
		c.s.stats.refused.inc()
		c.fail(p)
		return
	}
	ch := change{by: ByRequest, requestID: c.s.requestID(c.r), hidden: c.hidden}
	before := ""
	switch c.fault {
	case faultNever:
		before = c.entity.current()
	case faultLate:
		c.s.later(c.entity, ch, c.plan.late)
		c.abort(true)
	case faultGateway:
		c.s.later(c.entity, ch, c.plan.late)
		c.proxyError(http.StatusGatewayTimeout)
		return
	default:
		var ok bool
		if before, ok = c.s.execute(c.entity, ch); !ok {
			c.fail(noCluster(c.objectID, c.groupID))
			return
		}
	}
	if c.s.cfg.PutBody && c.s.putCode != http.StatusNoContent {
		c.buf.open('{')
		c.buf.str("clusterId", c.entity.id)
		c.buf.str("encryptionKeyUUID", before)
		c.buf.str("groupId", c.project.id)
		c.buf.close('}')
	}
	c.answer(c.s.putCode, c.buf.b)
}

// keyProblem says why a unit's key can't be asked for or turned.
func (c *call) keyProblem() *problem {
	switch {
	case c.entity.leaveOut == ReasonBackupOff:
		return noBackup(c.entity.id, c.project.id)
	case c.entity.typ == typeSharded, c.entity.leaveOut != "", c.entity.modern:
		return unsupported()
	default:
		return nil
	}
}

// proxyError answers as a proxy before the server does.
func (c *call) proxyError(status int) {
	c.w.Header()["Content-Type"] = c.s.headers.html
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte("<html><body><h1>" + strconv.Itoa(status) + " " + http.StatusText(status) + "</h1></body></html>"))
}

func (c *call) fail(p *problem) { c.write(p.status, p.json()) }

// answer answers what was processed, unless a fault is in the way.
func (c *call) answer(status int, body []byte) {
	switch c.fault {
	case faultErrorAfter:
		c.fail(unexpected())
		return
	case faultResetAfter:
		c.abort(true)
	case faultSlow:
		c.s.wait(c, c.plan.slow)
	}
	c.write(status, body)
}

// write writes the answer in the form that the query asks for. What envelope
// does to an error's HTTP status is not documented: here it becomes 200, so
// that nobody relies on it.
func (c *call) write(status int, body []byte) {
	if c.query.envelope {
		body = envelope(status, body, c.isList() && status == http.StatusOK)
		if status >= http.StatusBadRequest || status == http.StatusNoContent {
			status = http.StatusOK
		}
	}
	if c.query.pretty && len(body) > 0 {
		var out bytes.Buffer
		if json.Indent(&out, body, "", "  ") == nil {
			body = out.Bytes()
		}
	}
	h := c.w.Header()
	if c.fault == faultTruncated {
		c.truncate(status, body)
	}
	if len(body) > 0 {
		h["Content-Type"] = c.s.headers.json
	}
	if len(body) > 2000 { // net/http counts shorter ones itself
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.w.WriteHeader(status)
	if len(body) > 0 {
		_, _ = c.w.Write(body)
	}
}

// truncate sends half of the body and ends the connection.
func (c *call) truncate(status int, body []byte) {
	h := c.w.Header()
	h["Content-Type"] = c.s.headers.json
	if status == http.StatusNoContent { // has no body that could be cut
		status = http.StatusOK
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body) + 64)}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body[:len(body)/2])
	_ = http.NewResponseController(c.w).Flush() // without it the client would see no header
	c.abort(false)
}

// abort ends the connection without an answer; with a reset if asked. It
// doesn't return.
func (c *call) abort(reset bool) {
	if reset {
		if conn, _, err := http.NewResponseController(c.w).Hijack(); err == nil {
			if t, ok := conn.(*tls.Conn); ok {
				conn = t.NetConn()
			}
			if t, ok := conn.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // close sends a reset
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler) // net/http's own way, it prints nothing
}

func envelope(status int, body []byte, list bool) []byte {
	head := `{"status":` + strconv.Itoa(status)
	if list {
		return append([]byte(head+","), body[1:]...)
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	return append(append([]byte(head+`,"content":`), body...), '}')
}
