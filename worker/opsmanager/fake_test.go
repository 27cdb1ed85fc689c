package opsmanager_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/digest/digesttest"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

const (
	targetName  = "om"
	projectID   = "5ba0c398a957713d7f8653bd"
	privateKey  = "the-private-key"
	apiPrefix   = "/api/public/v1.0"
	projectPath = "/groups/" + projectID
	unitID      = targetName + "." + projectID + ".c1"
	keyPath     = projectPath + "/backupConfigs/c1/encryptionKey"
)

// object is a JSON object.
type object map[string]any

// fake is an Ops Manager behind a digest guard: lists and objects by path.
type fake struct {
	guard  *digesttest.Guard
	server *httptest.Server

	mu       sync.Mutex
	lists    map[string][]object
	objects  map[string]object
	handlers map[string]http.HandlerFunc // by method and path; they come first
	most     int                         // a page's size at most
	requests map[string]int              // by method and path, of those let in
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		lists: map[string][]object{"/groups": {{"id": projectID, "name": "alpha"}}}, objects: make(map[string]object),
		handlers: make(map[string]http.HandlerFunc), requests: make(map[string]int), most: 500,
	}
	f.guard = digesttest.New(digesttest.Rules{Username: "public", Password: privateKey}, f)
	f.server = httptest.NewServer(f.guard)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, apiPrefix)
	f.mu.Lock()
	f.requests[r.Method+" "+path]++
	handler, list, isList, obj := f.handlers[r.Method+" "+path], f.lists[path], f.lists[path] != nil, f.objects[path]
	f.mu.Unlock()
	switch {
	case handler != nil:
		handler(w, r)
	case isList:
		f.page(w, r, list)
	case obj != nil:
		answer(w, http.StatusOK, obj)
	default:
		answer(w, http.StatusNotFound, object{"error": 404, "errorCode": "RESOURCE_NOT_FOUND", "reason": "Not Found", "detail": "Cannot find resource " + path + "."})
	}
}

// page answers with wrong counts and links that lead nowhere, as real ones may.
func (f *fake) page(w http.ResponseWriter, r *http.Request, all []object) {
	size, _ := strconv.Atoi(r.FormValue("itemsPerPage"))
	n, _ := strconv.Atoi(r.FormValue("pageNum"))
	size = min(size, f.most)
	from, to := min((n-1)*size, len(all)), min(n*size, len(all))
	links := []object{{"rel": "self", "href": "https://central.invalid/"}}
	if to < len(all) {
		links = append(links, object{"rel": "next", "href": "https://central.invalid/?pageNum=77"})
	}
	answer(w, http.StatusOK, object{"totalCount": 1, "results": append([]object{}, all[from:to]...), "links": links})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// on answers a method and path with a status, a body and headers ("Name: value").
func (f *fake) on(methodAndPath string, status int, body string, headers ...string) {
	f.handle(methodAndPath, func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func (f *fake) handle(methodAndPath string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[methodAndPath] = h
}

func (f *fake) seen() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.requests)
}

func (f *fake) target() keyturn.Target {
	return keyturn.Target{Name: targetName, System: keyturn.SystemOpsManager, URL: f.server.URL}
}

func (f *fake) client(t *testing.T, change ...func(*opsmanager.Config)) *opsmanager.Client {
	t.Helper()
	cfg := opsmanager.Config{Target: f.target(), PublicKey: "public", PrivateKey: privateKey, Version: "1.2.3"}
	for _, c := range change {
		c(&cfg)
	}
	return newClient(t, cfg)
}

func newClient(t *testing.T, cfg opsmanager.Config) *opsmanager.Client {
	t.Helper()
	c, err := opsmanager.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	opsmanager.KnowBackups(c, unitID)
	return c
}
