package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// source is a resource as somebody applied it.
type source struct {
	YAML       string
	Kind       keyturn.ResourceKind
	Generation int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// sourceOf writes a resource as the YAML that `apply` takes. Its secrets are references.
func sourceOf(r keyturn.Resource) (source, error) {
	var b strings.Builder
	if err := resource.Encode(&b, []keyturn.Resource{r}); err != nil {
		return source{}, fmt.Errorf("showing %s %s: %w", r.Kind, r.Name, err)
	}
	return source{YAML: b.String(), Kind: r.Kind, Generation: r.Generation, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}, nil
}
