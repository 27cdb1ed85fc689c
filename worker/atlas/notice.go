package atlas

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

func zapTarget(name string) zap.Field { return zap.String("target", name) }

func zapError(err error) zap.Field { return zap.Error(err) }

// notices remember which versions of which resources Atlas has said it will give up.
// https://www.mongodb.com/docs/atlas/api/versioned-api-overview/
type notices struct {
	log    *zap.Logger
	target string

	mu   sync.Mutex
	said map[string]string // by operation
}

// look reads the headers Deprecation and Sunset, and tells the log what is new.
func (n *notices) look(operation, version string, h http.Header) {
	deprecated, sunset := h.Get("Deprecation"), h.Get("Sunset")
	if deprecated == "" && sunset == "" {
		return
	}
	text := fmt.Sprintf("version %s of %s is deprecated", version, strings.ReplaceAll(operation, "_", " "))
	if sunset != "" {
		text += " and ends on " + printable(sunset)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.said[operation] == text {
		return
	}
	if n.said == nil {
		n.said = map[string]string{}
	}
	n.said[operation] = text
	n.log.Warn("Atlas is going to give up a version of its API: update Keyturn before", zapTarget(n.target),
		zap.String("resource", operation), zap.String("version", version), zap.String("deprecation", printable(deprecated)), zap.String("sunset", printable(sunset)))
}

// all returns what was said, sorted.
func (n *notices) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	texts := make([]string, 0, len(n.said))
	for _, text := range n.said {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return texts
}
