package simulator

import (
	"encoding/json"
	"net/http"
)

// problem is an error as the API answers it. Code is empty for the errors that
// have none.
type problem struct {
	status int
	code   string
	detail string
	params []any
}

// The errors, by the table of
// https://www.mongodb.com/docs/ops-manager/current/reference/api/api-errors/.

func noResource(path string) *problem {
	return &problem{http.StatusNotFound, "RESOURCE_NOT_FOUND", "Cannot find resource " + path + ".", []any{path}}
}

func invalidGroup(id string) *problem {
	return &problem{http.StatusNotFound, "INVALID_GROUP_ID", "An invalid group ID " + id + " was specified.", []any{id}}
}

func noGroup(id string) *problem {
	return &problem{http.StatusNotFound, "GROUP_NOT_FOUND", "No group with ID " + id + " exists.", []any{id}}
}

func notInGroup() *problem {
	return &problem{http.StatusUnauthorized, "NOT_IN_GROUP", "The current user is not in the group, or the group does not exist.", nil}
}

func notAllowed() *problem {
	return &problem{http.StatusUnauthorized, "USER_UNAUTHORIZED", "Current user is not authorized to perform this action.", nil}
}

func invalidCluster(id string) *problem {
	return &problem{http.StatusNotFound, "INVALID_CLUSTER_ID", "An invalid cluster ID " + id + " was specified.", []any{id}}
}

func noCluster(id, group string) *problem {
	return &problem{http.StatusNotFound, "CLUSTER_NOT_FOUND", "No cluster with ID " + id + " exists in group " + group + ".", []any{id, group}}
}

func noBackup(id, group string) *problem {
	return &problem{http.StatusNotFound, "BACKUP_CONFIG_NOT_FOUND", "No backup configuration exists for cluster " + id + " in group " + group + ".", []any{id, group}}
}

// unsupported is what the simulator answers for a key that can't be asked for.
// What the real server answers is not documented.
func unsupported() *problem {
	return &problem{http.StatusForbidden, "UNSUPPORTED_FOR_CURRENT_CONFIG", "Operation not supported for current configuration.", nil}
}

func badQuery(name string) *problem {
	return &problem{http.StatusBadRequest, "INVALID_QUERY_PARAMETER", "Invalid query parameter " + name + " specified.", []any{name}}
}

func badMethod() *problem {
	return &problem{http.StatusMethodNotAllowed, "", "The method is not allowed for this resource.", nil}
}

func badMediaType() *problem {
	return &problem{http.StatusUnsupportedMediaType, "", "The content type must be application/json.", nil}
}

func badConfig() *problem {
	return &problem{http.StatusBadRequest, "INVALID_JSON", "Received JSON is malformed.", nil}
}

// lockedConfig is what the simulator answers when an external system holds a lock. What the real server answers
// is not documented.
func lockedConfig(policy string) *problem {
	return &problem{http.StatusForbidden, "FEATURE_CONTROLLED_BY_EXTERNAL_SYSTEM", "The project is controlled by an external system (" + policy + ").", []any{policy}}
}

func concurrentConfig() *problem {
	return &problem{http.StatusConflict, "AUTOMATION_CONFIG_CONCURRENT_MODIFICATION", "Another session or user has already published changes.", nil}
}

func rateLimited(resource string) *problem {
	return &problem{http.StatusTooManyRequests, "RATE_LIMITED", "Resource " + resource + " is limited to 100 requests every 1 minutes.", []any{resource, 100, 1}}
}

func unexpected() *problem {
	return &problem{http.StatusInternalServerError, "UNEXPECTED_ERROR", "Unexpected error.", nil}
}

func (p *problem) json() []byte {
	j := jsonBuf{b: make([]byte, 0, 256)}
	j.open('{')
	j.str("detail", p.detail)
	j.num("error", p.status)
	if p.code != "" {
		j.str("errorCode", p.code)
	}
	if params, err := json.Marshal(p.params); err == nil && p.params != nil {
		j.raw("parameters", string(params))
	}
	j.str("reason", http.StatusText(p.status))
	j.close('}')
	return j.b
}

// unauthorizedBody is the same for every 401 of digest authentication.
const unauthorizedBody = `{"detail":"You are not authorized for this resource.","error":401,"reason":"Unauthorized"}`
