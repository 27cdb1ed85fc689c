package atlas

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"
)

// read answers a question about a project, or takes an alert configuration.
func (c *call) read(p *project) *problem {
	st := c.s.state
	rest := c.path[2:]
	is := func(names ...string) bool {
		return slices.EqualFunc(rest, names, func(got, want string) bool { return want == "*" || got == want })
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if c.r.Method == http.MethodPut && is("alertConfigs", "*") {
		return c.putAlert(p, rest[1])
	}
	if c.r.Method != http.MethodGet {
		return &problem{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", detail: "The method is not allowed here."}
	}
	switch {
	case is():
		writeJSON(c.w, http.StatusOK, map[string]any{"id": p.ID, "name": p.Name})
	case is("encryptionAtRest"):
		writeJSON(c.w, http.StatusOK, st.encryption(p, c.v1))
	case is("clusters"):
		c.page(st.clusters(p, c.v1))
	case is("serverless"):
		list := []any{}
		for n := range p.Serverless {
			list = append(list, map[string]any{"id": "serverless-" + string(rune('a'+n)), "name": "serverless-" + string(rune('a'+n)), "stateName": "IDLE"})
		}
		c.page(list)
	case is("alertConfigs"):
		list := []any{}
		for _, a := range p.alerts {
			list = append(list, a)
		}
		c.page(list)
	case is("alertConfigs", "*"):
		for _, a := range p.alerts {
			if a["id"] == rest[1] {
				writeJSON(c.w, http.StatusOK, a)
				return nil
			}
		}
		return &problem{status: http.StatusNotFound, code: "ALERT_CONFIG_NOT_FOUND", detail: "An alert configuration with ID " + rest[1] + " does not exist."}
	case is("clusters", "*", "backup", "snapshots"), is("clusters", "*", "backup", "snapshots", "shardedClusters"):
		return c.listSnapshots(p, rest)
	default:
		return c.unknown()
	}
	return nil
}

func (c *call) listSnapshots(p *project, rest []string) *problem {
	i := slices.IndexFunc(p.Clusters, func(k Cluster) bool { return k.Name == rest[1] })
	if i < 0 {
		return &problem{status: http.StatusNotFound, code: "CLUSTER_NOT_FOUND", detail: "No cluster named " + rest[1] + " exists in group " + p.ID + "."}
	}
	if p.Clusters[i].Sharded != (len(rest) == 5) {
		return &problem{status: http.StatusBadRequest, code: "CLUSTER_TYPE_MISMATCH", detail: "The cluster is of another type."}
	}
	list := []any{}
	for _, s := range p.snapshots[rest[1]] {
		list = append(list, s)
	}
	c.page(list)
	return nil
}

// putAlert takes a whole alert configuration.
func (c *call) putAlert(p *project, id string) *problem {
	if p.ReadOnly {
		return notOwner()
	}
	var sent map[string]any
	if err := json.NewDecoder(io.LimitReader(c.r.Body, 1<<20)).Decode(&sent); err != nil {
		return refuse("INVALID_JSON", "Received JSON is malformed.")
	}
	list, _ := sent["notifications"].([]any)
	if sent["eventTypeName"] == nil || len(list) == 0 {
		return refuse("MISSING_ATTRIBUTE", "The required attribute notifications was not specified.")
	}
	for i, a := range p.alerts {
		if a["id"] != id {
			continue
		}
		for _, kept := range []string{"id", "groupId", "created"} {
			sent[kept] = a[kept]
		}
		sent["updated"] = c.s.state.now().UTC().Format(time.RFC3339)
		p.alerts[i] = sent
		writeJSON(c.w, http.StatusOK, sent)
		return nil
	}
	return &problem{status: http.StatusNotFound, code: "ALERT_CONFIG_NOT_FOUND", detail: "An alert configuration with ID " + id + " does not exist."}
}

func notOwner() *problem {
	return &problem{status: http.StatusForbidden, code: "USER_UNAUTHORIZED", detail: "Current user is not authorized to perform this action."}
}

// wish is a PATCH that makes sense.
type wish struct {
	kind kind
	key  string
	off  bool // it switches encryption off
}

func (c *call) patchEncryption(p *project) *problem {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, 1<<20))
	if err != nil {
		abort()
	}
	st := c.s.state
	kind := c.s.draw(http.MethodPatch, p.ID)
	switch kind {
	case faultErrorBefore:
		c.note(p, body, &problem{status: http.StatusInternalServerError, code: "UNEXPECTED_ERROR"})
		return &problem{status: http.StatusInternalServerError, code: "UNEXPECTED_ERROR", detail: "Unexpected error."}
	case faultTooMany:
		limited := c.tooMany()
		c.note(p, body, limited)
		return limited
	case faultResetBefore:
		abort()
	case faultLate:
		c.s.late.Go(func() {
			c.s.wait(c.s.delays().late)
			c.execute(p, body, false)
		})
		abort()
	}
	trouble := c.execute(p, body, kind == faultNone || kind == faultSlow)
	switch kind {
	case faultErrorAfter:
		return &problem{status: http.StatusInternalServerError, code: "UNEXPECTED_ERROR", detail: "Unexpected error."}
	case faultResetAfter:
		abort()
	case faultSlow:
		c.s.wait(c.s.delays().slow)
	}
	if trouble != nil {
		return trouble
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	writeJSON(c.w, http.StatusOK, st.encryption(p, c.v1))
	return nil
}

func (c *call) note(p *project, body []byte, trouble *problem) {
	c.s.state.mu.Lock()
	defer c.s.state.mu.Unlock()
	c.s.state.note(p, body, trouble)
}

func (s *state) note(p *project, body []byte, trouble *problem) {
	patch := Patch{Seq: int64(len(s.patches) + 1), At: s.now(), ProjectID: p.ID, Body: bytes.Clone(body), Status: http.StatusOK}
	if !json.Valid(body) {
		patch.Body, _ = json.Marshal(string(body))
	}
	if trouble != nil {
		patch.Status, patch.ErrorCode = trouble.status, trouble.code
	}
	s.patches = append(s.patches, patch)
}

// execute carries a PATCH out, or not.
func (c *call) execute(p *project, body []byte, answered bool) *problem {
	code := c.s.nextCode()
	st := c.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	wishes, trouble := c.wishes(p, body)
	if trouble == nil && code != "" {
		trouble = refuse(code, "As the test wants it.")
	}
	if trouble == nil {
		trouble = st.grant(p, wishes, answered)
	}
	st.note(p, body, trouble)
	return trouble
}

// wishes reads the body of a PATCH. The lock is held.
func (c *call) wishes(p *project, body []byte) ([]wish, *problem) {
	if p.ReadOnly {
		return nil, notOwner()
	}
	var sent map[string]map[string]any
	if json.Unmarshal(body, &sent) != nil {
		return nil, refuse("INVALID_JSON", "Received JSON is malformed.")
	}
	var all []wish
	for _, k := range kinds() {
		fields, ok := sent[k.object]
		if !ok {
			continue
		}
		delete(sent, k.object)
		w, trouble := c.wish(p, k, fields)
		if trouble != nil {
			return nil, trouble
		}
		all = append(all, w)
	}
	for name := range sent {
		return nil, refuse("INVALID_JSON_ATTRIBUTE", "Received JSON for the "+name+" attribute does not match expected format.")
	}
	if len(all) == 0 {
		return nil, refuse("MISSING_ENCRYPTION_AT_REST_PROVIDER", "At least one provider must be specified.")
	}
	return all, nil
}

func (c *call) wish(p *project, k kind, fields map[string]any) (wish, *problem) {
	for name := range fields {
		switch {
		case name == "valid":
			return wish{}, refuse("ATTRIBUTE_READ_ONLY", "The attribute valid is read-only and cannot be changed by the user.")
		case name != k.key && !slices.Contains(k.fields, name) && !slices.Contains(k.secrets, name):
			return wish{}, refuse("INVALID_JSON_ATTRIBUTE", "Received JSON for the "+name+" attribute does not match expected format.")
		}
	}
	w := wish{kind: k}
	w.key, _ = fields[k.key].(string)
	if enabled, said := fields["enabled"].(bool); said && !enabled {
		w.off = true
		return w, nil
	}
	if len(fields) == 0 || w.key == "" {
		return wish{}, refuse("MISSING_ATTRIBUTE", "The required attribute "+k.key+" was not specified.")
	}
	pr := p.providers[k.id]
	if !c.s.cfg.WantWhole || pr == nil {
		return w, nil
	}
	for name := range pr.fields {
		if !slices.Contains(k.secrets, name) && fields[name] == nil || fields["enabled"] == nil {
			return wish{}, refuse("MISSING_ATTRIBUTES", "The required attributes "+name+", enabled were not specified.")
		}
	}
	return w, nil
}

// grant carries wishes out, all or none. The lock is held.
func (s *state) grant(p *project, wishes []wish, answered bool) *problem {
	for _, w := range wishes {
		pr := p.providers[w.kind.id]
		switch {
		case w.off && slices.ContainsFunc(p.Clusters, func(k Cluster) bool { return k.Provider == w.kind.id }):
			return refuse("CANNOT_DISABLE_ENCRYPTION_AT_REST", "Encryption at rest cannot be disabled while clusters use it.")
		case w.off:
		case pr == nil || !pr.enabled:
			return refuse("CANNOT_ROTATE_KEY_ENCRYPTION_DISABLED", "Cannot rotate the key while encryption is disabled.")
		case s.check(w.kind, pr.key, pr.fields) != "":
			return refuse("ENCRYPTION_AT_REST_SETTINGS_INVALID", "Encryption at rest settings are invalid.")
		}
		if w.off {
			continue
		}
		if code := s.check(w.kind, w.key, pr.fields); code != "" {
			return refuse(code, "The key cannot be used.")
		}
	}
	for _, w := range wishes {
		if w.off {
			delete(p.providers, w.kind.id)
			continue
		}
		s.set(p, w.kind, w.key, answered)
	}
	return nil
}
