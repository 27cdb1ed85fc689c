package api

import (
	"context"
	"net/http"

	"github.com/keyturn/keyturn"
)

type listUnitsInput struct {
	Paging
	Target  string `query:"target" maxLength:"100" doc:"Only this target's."`
	Project string `query:"project" maxLength:"300" doc:"Only this project's: its id or name."`
	Cluster string `query:"cluster" maxLength:"300" doc:"Only this cluster's: its id or name."`
	Name    string `query:"name" maxLength:"400" doc:"Only the unit with this id, name, PROJECT/NAME or component id."`
}

type historyInput struct {
	Paging
	Unit     string `query:"unit" maxLength:"400" doc:"Only this unit's: its id, name, PROJECT/NAME or component id."`
	Rotation string `query:"rotation" maxLength:"36" doc:"Only what this rotation wrote."`
}

func (s *server) registerListings() {
	handle(s, operation{
		id: "list-units", method: http.MethodGet, path: "/units", role: keyturn.RoleViewer, tag: "units",
		summary: "List the units that were ever seen, with the keys they use",
	}, s.listUnits)
	handle(s, operation{
		id: "list-history", method: http.MethodGet, path: "/history", role: keyturn.RoleViewer, tag: "units",
		summary: "List the key history, oldest first",
	}, s.listHistory)
}

func (s *server) listUnits(ctx context.Context, in *listUnitsInput) (*listOutput[keyturn.Unit], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	return listed(s.Store.Units(ctx, keyturn.UnitFilter{
		Target: in.Target, Project: in.Project, Cluster: in.Cluster, Name: in.Name, Page: page,
	}))
}

func (s *server) listHistory(ctx context.Context, in *historyInput) (*listOutput[keyturn.KeyRecord], error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	filter := keyturn.HistoryFilter{Unit: in.Unit, Page: page}
	if in.Rotation != "" {
		if filter.Rotation, err = parseID("rotation", in.Rotation); err != nil {
			return nil, err
		}
	}
	return listed(s.Store.History(ctx, filter))
}
