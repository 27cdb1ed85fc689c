package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keyturn/keyturn"
)

// rotationPage is what the page of a rotation shows.
type rotationPage struct {
	Summary     summary
	Worst       worstData
	Columns     []keyturn.Component
	Rows        []boardRow
	Page, Pages int
	Clusters    int
	Mark        string // what came before the page was drawn; empty: it does not follow
	Before      string // the page before, and the next one
	After       string
	Mixed       []string // clusters of which only a part has a new key
	Only        string   // how the policy was narrowed
}

func (s *Site) rotation(ctx context.Context, v *visit) (*view, error) {
	id, err := keyturn.ParseID(v.PathValue("id"))
	if err != nil {
		return nil, &apiError{Status: http.StatusNotFound, Detail: "there is no rotation " + v.PathValue("id")}
	}
	// The API says whether the visitor may see it, and what is mixed.
	var r keyturn.Rotation
	if err := v.get(ctx, "/rotations/"+id.String()+"?tasks=false&clusters=true", &r); err != nil {
		return nil, err
	}
	page := rotationPage{Page: pageNumber(v.Request), Only: onlyOf(r.Only)}
	if !r.State.Final() {
		watched, err := s.watch(ctx, id)
		switch {
		case err == nil:
			// Whatever happens from here on comes after the mark.
			page.Mark = watched.mark()
			watched.leave()
		case !errors.Is(err, errTooMany):
			return nil, err
		}
	}
	b, now, err := s.readBoard(ctx, id)
	if err != nil {
		return nil, err
	}
	page.Summary, page.Columns, page.Pages, page.Clusters = b.summary(now), b.columns, b.pages(), len(b.rows)
	page.Worst.Cells, page.Worst.More = b.worst()
	page.Page = min(page.Page, page.Pages)
	page.Rows = b.page(page.Page)
	for _, c := range r.Clusters {
		if c.Mixed && len(page.Mixed) < 20 {
			page.Mixed = append(page.Mixed, keyturn.ClusterTitle(c.ProjectName, c.Cluster))
		}
	}
	base := "/rotations/" + id.String() + "?page="
	if page.Page > 1 {
		page.Before = base + strconv.Itoa(page.Page-1)
	}
	if page.Page < page.Pages {
		page.After = base + strconv.Itoa(page.Page+1)
	}
	return &view{Title: "Rotation of " + r.Policy, Nav: "rotations", Template: "rotation", Data: page}, nil
}

// onlyOf says how a rotation narrows its policy; empty: not at all.
func onlyOf(only keyturn.Selection) string {
	text := ""
	for _, part := range []struct {
		what string
		n    []string
	}{{"projects", only.Projects}, {"clusters", only.Clusters}, {"units", only.Units}} {
		switch {
		case len(part.n) == 0:
		case len(part.n) <= 3:
			text += fmt.Sprintf("; %s %v", part.what, part.n)
		default:
			text += fmt.Sprintf("; %d %s", len(part.n), part.what)
		}
	}
	if text == "" {
		return ""
	}
	return text[2:]
}

// taskPage is what the page of a task shows.
type taskPage struct {
	keyturn.Task
	Rotation keyturn.Rotation
	Unit     keyturn.Unit
}

func (s *Site) readTask(ctx context.Context, v *visit) (taskPage, error) {
	var page taskPage
	if err := v.get(ctx, "/tasks/"+url.PathEscape(v.PathValue("id")), &page.Task); err != nil {
		return page, err
	}
	if err := v.get(ctx, "/rotations/"+page.Task.Rotation.String()+"?tasks=false&clusters=false", &page.Rotation); err != nil {
		return page, err
	}
	found, err := list[keyturn.Unit](ctx, v, "/units?"+query("name", page.Task.Unit))
	if err == nil && len(found.Items) > 0 {
		page.Unit = found.Items[0]
	}
	return page, err
}

func (s *Site) task(ctx context.Context, v *visit) (*view, error) {
	page, err := s.readTask(ctx, v)
	if err != nil {
		return nil, err
	}
	return &view{Title: "Task", Nav: "rotations", Template: "task", Data: page}, nil
}
