package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// Encoded is cells in columns, which compress to a few bytes a unit. What is long and the same in many
// cells is there once; the unit's id, which does not compress, is left out: a unit is named by its place.
type Encoded struct {
	At       int64     `json:"at"`      // Unix seconds
	Targets  []string  `json:"targets"` // in the order of their cells, as everything here
	Projects []Project `json:"projects"`
	Clusters []Cluster `json:"clusters"`
	Names    []string  `json:"names"`  // a leading "~" stands for the name of the cluster
	Days     []int     `json:"days"`   // age in days; -1: unknown
	Levels   string    `json:"levels"` // a digit each: Level
	Flags    string    `json:"flags"`  // a letter each: see flagOf
	Kinds    string    `json:"kinds"`  // a letter each: c, s, r or p
	Ages     [][2]int  `json:"ages"`   // the first column of AgesOf: days of warning and critical
	AgesOf   string    `json:"agesOf"` // a letter each, from "a"; empty: all are the first
}

// Project is a project in Encoded.
type Project struct {
	Target int    `json:"t"` // its index
	ID     string `json:"i"`
	Name   string `json:"n"`
}

// Cluster is a cluster in Encoded: the next Cells cells are its.
type Cluster struct {
	Project int    `json:"p"` // its index
	Name    string `json:"n"`
	Cells   int    `json:"c"`
}

// Encode writes cells as JSON.
func Encode(cells []Cell, at time.Time) ([]byte, error) {
	e := Encoded{At: at.Unix(), Targets: []string{}, Projects: []Project{}, Clusters: []Cluster{}, Ages: [][2]int{}}
	e.Names, e.Days = make([]string, len(cells)), make([]int, len(cells))
	levels, flags, kinds, agesOf := make([]byte, len(cells)), make([]byte, len(cells)), make([]byte, len(cells)), make([]byte, len(cells))
	places := map[Ages]byte{}
	for i := range cells {
		c := &cells[i]
		if i == 0 || c.Target != cells[i-1].Target {
			e.Targets = append(e.Targets, c.Target)
		}
		if i == 0 || !sameGroup(c, &cells[i-1], false) {
			e.Projects = append(e.Projects, Project{len(e.Targets) - 1, c.ProjectID, c.ProjectName})
		}
		if i == 0 || !sameGroup(c, &cells[i-1], true) {
			e.Clusters = append(e.Clusters, Cluster{len(e.Projects) - 1, c.ClusterName, 0})
		}
		e.Clusters[len(e.Clusters)-1].Cells++
		e.Names[i] = c.Name
		if rest, ok := strings.CutPrefix(c.Name, c.ClusterName); ok && c.ClusterName != "" {
			e.Names[i] = "~" + rest
		}
		e.Days[i] = -1
		if c.Level != Unknown {
			e.Days[i] = int(c.Age / keyturn.Day)
		}
		levels[i], flags[i], kinds[i] = '0'+byte(c.Level), flagOf(c), kindOf(c.Component)
		place, ok := places[c.Ages]
		if !ok {
			place = 'a' + byte(min(len(e.Ages), 'z'-'a'))
			places[c.Ages] = place
			e.Ages = append(e.Ages, [2]int{int(c.Ages.Warn / keyturn.Day), int(c.Ages.Critical / keyturn.Day)})
		}
		agesOf[i] = place
	}
	e.Levels, e.Flags, e.Kinds = string(levels), string(flags), string(kinds)
	if len(e.Ages) > 1 {
		e.AgesOf = string(agesOf)
	}
	out, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encoding the fleet: %w", err)
	}
	return out, nil
}

// The flags of a cell, added up to a letter from "A" on: 1 the age is exact, 2 it can be rotated, and 4, 8 or
// 12 a task of it is pending, intended or parked.
func flagOf(c *Cell) byte {
	f := byte('A')
	if c.KeySinceExact {
		f++
	}
	if c.Rotatable {
		f += 2
	}
	switch c.Task {
	case keyturn.TaskPending:
		f += 4
	case keyturn.TaskIntended:
		f += 8
	case keyturn.TaskParked:
		f += 12
	}
	return f
}

func kindOf(c keyturn.Component) byte {
	if c == "" {
		return 'r'
	}
	return c[0] // shard, config, replica-set, project: all begin differently
}
