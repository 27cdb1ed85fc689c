package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keyturn/keyturn"
)

type resourceOutput struct {
	Body keyturn.Resource
}

// collection is a kind of resource and the path under which it is listed.
type collection struct {
	path, singular string
	kind           keyturn.ResourceKind
}

// collections returns them in the order of listings: what others name comes first.
func collections() []collection {
	return []collection{
		{"targets", "target", keyturn.KindTarget},
		{"policies", "policy", keyturn.KindPolicy},
		{"webhooks", "webhook", keyturn.KindWebhook},
		{"hooks", "hook", keyturn.KindHook},
		{"silences", "silence", keyturn.KindSilence},
	}
}

func (s *server) registerResources() {
	handle(s, operation{
		id: "list-resources", method: http.MethodGet, path: "/resources", role: keyturn.RoleViewer, tag: "resources",
		summary: "List all targets, policies, webhooks and hooks",
	}, func(ctx context.Context, _ *struct{}) (*listOutput[keyturn.Resource], error) {
		return s.listResources(ctx, "")
	})
	for _, c := range collections() {
		handle(s, operation{
			id: "list-" + c.path, method: http.MethodGet, path: "/" + c.path, role: keyturn.RoleViewer, tag: c.path,
			summary: "List all " + c.path,
		}, func(ctx context.Context, _ *struct{}) (*listOutput[keyturn.Resource], error) {
			return s.listResources(ctx, c.kind)
		})
		handle(s, operation{
			id: "get-" + c.singular, method: http.MethodGet, path: "/" + c.path + "/{name}", role: keyturn.RoleViewer, tag: c.path,
			summary: "One " + c.singular,
		}, func(ctx context.Context, in *nameInput) (*resourceOutput, error) {
			r, err := s.resource(ctx, c.kind, in.Name)
			if err != nil {
				return nil, err
			}
			one := []keyturn.Resource{r}
			if err := s.shown(ctx, one); err != nil {
				return nil, err
			}
			return &resourceOutput{Body: one[0]}, nil
		})
	}
	s.registerApply()
}

// listResources lists in one page: there are dozens, not thousands.
func (s *server) listResources(ctx context.Context, kind keyturn.ResourceKind) (*listOutput[keyturn.Resource], error) {
	var resources []keyturn.Resource
	var err error
	if kind == "" {
		resources, err = s.Store.Resources(ctx)
	} else {
		resources, err = s.Store.ResourcesOf(ctx, kind)
	}
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	if err := s.shown(ctx, resources); err != nil {
		return nil, err
	}
	slices.SortFunc(resources, func(a, b keyturn.Resource) int {
		return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), strings.Compare(a.Name, b.Name))
	})
	return listed(resources, "", nil)
}

// shown makes stored resources what the caller may see of them, with their states.
func (s *server) shown(ctx context.Context, resources []keyturn.Resource) error {
	if err := s.withStates(ctx, resources); err != nil {
		return err
	}
	return withoutAddresses(ctx, resources)
}

func kindOrder(kind keyturn.ResourceKind) int {
	return slices.IndexFunc(collections(), func(c collection) bool { return c.kind == kind })
}

func (s *server) resource(ctx context.Context, kind keyturn.ResourceKind, name string) (keyturn.Resource, error) {
	r, err := s.Store.Resource(ctx, kind, name)
	if err != nil {
		return r, missing(err, strings.ToLower(string(kind)), name)
	}
	return r, nil
}
