package simulator

import (
	"net/url"
	"strconv"
)

// Bounds of a page, https://www.mongodb.com/docs/ops-manager/current/core/api/.
const (
	defaultPage = 100
	maxPage     = 500
)

// query is what a request asks for behind the question mark.
type query struct {
	pageNum, itemsPerPage int
	noCount               bool
	pretty, envelope      bool
	clusterID             string
}

// parseQuery reads the query and refuses what the endpoint doesn't know.
func (c *call) parseQuery() *problem {
	c.query = query{pageNum: 1, itemsPerPage: defaultPage}
	if c.r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badQuery(c.r.URL.RawQuery)
	}
	for name, v := range values {
		if len(v) != 1 || !c.parameter(name, v[0]) {
			return badQuery(name)
		}
	}
	return nil
}

func (c *call) parameter(name, value string) bool {
	q := &c.query
	var ok bool
	switch {
	case name == "pretty":
		q.pretty, ok = boolean(value)
	case name == "envelope":
		q.envelope, ok = boolean(value)
	case !c.isList():
	case name == "pageNum":
		q.pageNum, ok = number(value, 1<<30)
	case name == "itemsPerPage":
		q.itemsPerPage, ok = number(value, maxPage)
	case name == "includeCount":
		var count bool
		count, ok = boolean(value)
		q.noCount = !count
	case name == "clusterId" && c.endpoint == endpointHosts:
		q.clusterID, ok = value, true
	}
	return ok
}

func boolean(s string) (v, ok bool) { return s == "true", s == "true" || s == "false" }

// number reads 1 to most.
func number(s string, most int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= most
}

// isList reports whether the endpoint answers with pages.
func (c *call) isList() bool {
	switch c.endpoint {
	case endpointAllClusters, endpointGroups, endpointClusters, endpointBackupConfigs, endpointHosts, endpointSnapshots:
		return true
	default:
		return false
	}
}
