package opsmanager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn"
)

const (
	// perPage is the most that Ops Manager allows from 4.1 on; before, it was smallPage.
	// https://www.mongodb.com/docs/ops-manager/v7.0/core/api/#pagination
	perPage   = 500
	smallPage = 100
	// maxPages ends a listing that has no end.
	maxPages = 20_000
)

// page is one page of a list.
type page[T any] struct {
	Results []T    `json:"results"` // nil: it is no list
	Links   []link `json:"links"`
}

func (p *page[T]) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "results":
			p.Results = scanMore(s, make([]T, 0, min(perPage, len(s.text)/resultText)))
		case "links":
			p.Links = scanList[link](s)
		default:
			s.skip()
		}
	}
}

// resultText is how much text of a page there is for each result, about.
const resultText = 256

// scanList reads an array, of things that can be scanned; null is nil.
func scanList[T any](s *scanner) []T { return scanMore(s, []T{}) }

// scanMore does so, into the memory of a list whose content is not needed any more.
func scanMore[T any](s *scanner, list []T) []T {
	if s.null() {
		return nil
	}
	list = list[:0]
	for range s.elements() {
		list = append(list, *new(T))
		if item, ok := any(&list[len(list)-1]).(scanned); ok {
			item.scan(s)
		} else {
			s.odd = true
		}
	}
	return list
}

type link struct {
	Rel string `json:"rel"`
}

func (l *link) scan(s *scanner) {
	s.object(func(name string) *string {
		if name == "rel" {
			return &l.Rel
		}
		return nil
	})
}

// list returns all of a list, each thing once. It asks for the next page as
// long as the server says that there is one, but by its own URL: the server's may lead
// to an address that can't be reached from here. totalCount says nothing reliable.
func list[T any](ctx context.Context, c *Client, q question, id func(T) string) ([]T, error) {
	q.header, q.limit, q.turns = c.readHeader, listLimit, 1
	var (
		all  []T
		seen map[string]struct{}
		size = perPage
	)
	for n := 1; ; n++ {
		q.query = "itemsPerPage=" + strconv.Itoa(size) + "&pageNum=" + strconv.Itoa(n)
		var p page[T]
		if err := c.get(ctx, q, &p); err != nil {
			if n == 1 && size == perPage && isBadRequest(err) {
				n, size = 0, smallPage
				continue
			}
			return nil, err
		}
		if p.Results == nil {
			return nil, c.foreign(q, "the answer is no list")
		}
		if seen == nil {
			seen = make(map[string]struct{}, len(p.Results))
		}
		before := len(all)
		fresh := slices.DeleteFunc(p.Results, func(item T) bool {
			n := len(seen)
			seen[id(item)] = struct{}{}
			return len(seen) == n
		})
		if all == nil { // most lists have one page
			all = fresh
		} else {
			all = append(all, fresh...)
		}
		if len(p.Results) == 0 || !slices.Contains(p.Links, link{Rel: "next"}) {
			return all, nil
		}
		if len(all) == before || n == maxPages {
			return nil, c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "endless_list"},
				fmt.Errorf("page %d only repeats what came before and still there should be more: the list would be incomplete", n))
		}
	}
}

func isBadRequest(err error) bool {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	return ok && e.Code == "http_"+strconv.Itoa(http.StatusBadRequest)
}
