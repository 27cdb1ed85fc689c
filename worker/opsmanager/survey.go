package opsmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// backupConfig says whether a cluster is backed up, and encrypted.
// https://www.mongodb.com/docs/ops-manager/v7.0/reference/api/backup/get-all-backup-configs-for-group/
type backupConfig struct {
	ClusterID         string `json:"clusterId"`
	StatusName        string `json:"statusName"`
	EncryptionEnabled *bool  `json:"encryptionEnabled"` // nil: it does not say, which is not "no"
}

func (b *backupConfig) scan(s *scanner) {
	for name := range s.fields() {
		switch name {
		case "clusterId":
			s.string(&b.ClusterID)
		case "statusName":
			s.string(&b.StatusName)
		case "encryptionEnabled":
			s.bool(&b.EncryptionEnabled)
		default:
			s.skip()
		}
	}
}

const (
	statusStarted = "STARTED"

	howToKnow = "let automation manage it, or give the API key a role that may read the automation config, such as Project Automation Admin"
)

// survey looks into one project.
type survey struct {
	c      *Client
	group  group
	sel    keyturn.Selection
	places places // for what is asked at the same time as something else; nil: nothing is

	clusters []cluster
	backups  map[string]backupConfig
	asked    map[string]bool // backup configurations that were asked for by themselves
	refused  string          // why backup configurations can't be known
	plan     *plan           // nil: there is none that could be read
	unread   string          // why the automation config does not help, and what would
	hosts    *inventory      // nil: not asked for yet

	planAhead    *ahead[*plan]
	backupsAhead *ahead[[]backupConfig]
	hostsAhead   *ahead[[]host]
}

// selected is a component with the unit it makes.
type selected struct {
	component
	unit  keyturn.Unit
	found fcv  // by the automation config
	known bool // it tells it
}

// units returns the project's units that are selected, sorted.
func (s *survey) units(ctx context.Context) ([]keyturn.Unit, error) {
	if s.sure() {
		s.planAhead = askAhead(ctx, s.places, s.askPlan)
		defer s.dropPlan()
		if s.backs() && !s.c.ways.backless(s.group.ID) {
			s.backupsAhead = askAhead(ctx, s.places, s.askBackups)
			defer s.backupsAhead.drop()
		}
	}
	clusters, err := s.list(ctx)
	if isCode(err, "not_found") {
		s.c.log.Info("project is gone: left out", zap.String("target", s.c.target.Name), zap.String("project", s.group.ID))
		return nil, nil // deleted since the projects were listed
	}
	if err != nil {
		return nil, err
	}
	picked, err := s.pick(components(clusters))
	if err != nil || len(picked) == 0 {
		return nil, err
	}
	s.clusters = clusters
	if err := s.judge(ctx, picked); err != nil {
		return nil, err
	}
	slices.SortFunc(picked, func(a, b *selected) int { return inProject(&a.unit, &b.unit) })
	units := make([]keyturn.Unit, len(picked))
	for i, p := range picked {
		p.unit.Rotatable = p.unit.Reason == ""
		units[i] = p.unit
	}
	return units, nil
}

// sure reports whether the selection leaves nothing of the project out, and the project has something: then its
// automation config is needed, whatever its clusters are.
func (s *survey) sure() bool {
	return s.group.deployed() && len(s.sel.Clusters) == 0 && len(s.sel.Components) == 0 && len(s.sel.Units) == 0
}

// dropPlan drops an automation config that was asked for and not needed after all, from memory too.
func (s *survey) dropPlan() {
	if s.planAhead.drop(); s.planAhead != nil && s.plan == nil {
		s.c.projects.forget(s.group.ID)
	}
}

// list lists the project's clusters.
func (s *survey) list(ctx context.Context) ([]cluster, error) {
	return list(ctx, s.c, s.question("list_clusters", "clusters", "/clusters"), func(c cluster) string { return c.ID })
}

func (s *survey) question(operation, what, path string) question {
	return question{
		operation: operation, doing: "listing the " + what + " of project",
		subject: s.group.String(), path: "/groups/" + s.group.ID + path,
	}
}

// pick makes units of the components and returns the selected ones.
func (s *survey) pick(all []component) ([]*selected, error) {
	var picked []*selected
	var k keeper // the units of a large estate are held for a while
	for i := range all {
		comp := &all[i]
		id, err := keyturn.UnitID(s.c.target.Name, s.group.ID, comp.ID)
		if err != nil {
			return nil, s.c.fail(s.question("", "units", ""), keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_id"}, err)
		}
		u := keyturn.Unit{
			ID: id, Target: s.c.target.Name, System: s.c.target.System,
			ProjectID: s.group.ID, ProjectName: s.group.Name,
			ClusterID: id[len(id)-len(comp.ID):], ClusterName: comp.ClusterName, Component: comp.kind, Name: comp.name(),
			Reason: comp.flaw,
		}
		if s.selects(u, comp) {
			u.ClusterName = k.own(u.ClusterName)
			u.Name = k.own(u.Name)
			picked = append(picked, &selected{component: *comp, unit: u})
		}
	}
	return picked, nil
}

// selects reports whether the unit is selected. A sharded cluster may also be
// selected by its own id, which is not that of a unit.
func (s *survey) selects(u keyturn.Unit, comp *component) bool {
	if s.sel.Match(u) {
		return true
	}
	if comp.parent == nil || len(s.sel.Clusters) == 0 {
		return false
	}
	others := s.sel
	others.Clusters = nil
	asCluster := u
	asCluster.ClusterID = comp.parent.ID
	return others.Match(u) && keyturn.Selection{Clusters: s.sel.Clusters}.Match(asCluster)
}

// judge finds out in which way each unit's key can be turned, and why some can't be.
func (s *survey) judge(ctx context.Context, picked []*selected) error {
	if !slices.ContainsFunc(picked, func(p *selected) bool { return p.flaw == "" }) {
		return nil
	}
	if err := s.readPlan(ctx); err != nil {
		return err
	}
	backups, hosts := s.lookUp(picked)
	if backups && hosts {
		s.hostsAhead = askAhead(ctx, s.places, s.askHosts)
		defer s.hostsAhead.drop()
	}
	if s.c.ways.needs(s.group.ID, backups); backups {
		if err := s.readBackups(ctx); err != nil {
			return err
		}
	}
	routes := make(map[string]route, len(picked))
	locked, automated := "", false
	for _, p := range picked {
		r, err := s.route(ctx, p)
		if err != nil {
			return err
		}
		automated = automated || r.way == wayAutomation
		if r.way == wayAutomation && locked == "" {
			if locked, err = s.lock(ctx); err != nil {
				return err
			}
		}
		if r.way == wayAutomation && locked != unlocked {
			r.reason = locked
		}
		p.unit.Reason, p.unit.Alone = r.reason, r.way == wayAutomation
		if r.reason == "" {
			routes[p.ID] = r
		}
	}
	s.c.ways.learn(s.group.ID, routes, s.c.now())
	if !automated {
		s.c.projects.forget(s.group.ID)
	}
	return nil
}

// lookUp finds what the automation config tells of the units' FCV, and reports what has to be asked for besides:
// the backup configurations, if a unit may need its own, and the hosts, where the automation config does not tell.
func (s *survey) lookUp(picked []*selected) (backups, hosts bool) {
	for _, p := range picked {
		if p.flaw != "" {
			continue
		}
		if s.plan != nil {
			p.found, p.known = s.plan.fcv(p.component)
		}
		backups = backups || s.backs() && !p.found.high
		hosts = hosts || !p.known
	}
	return backups, hosts
}

// route finds the way of one unit. It asks for the hosts only if the automation config does not tell the FCV.
func (s *survey) route(ctx context.Context, p *selected) (route, error) {
	if p.flaw != "" {
		return route{reason: p.flaw}, nil
	}
	found := p.found
	if !p.known {
		if err := s.listHosts(ctx); err != nil {
			return route{}, err
		}
		found = fcvByHosts(s.hosts.members(p.component), s.unread)
	}
	p.unit.FCV = found.version
	r := s.c.routeOf(found, s.plan, s.unread, p.component)
	if r.way == wayBackup && r.reason == "" {
		var err error
		if r.reason, err = s.backup(ctx, p.component); err != nil {
			return route{}, err
		}
	}
	return r, nil
}

// backs reports whether keys of backups are turned at the target.
func (s *survey) backs() bool { return s.c.target.System != keyturn.SystemCloudManager }

// askBackups lists the backup configurations.
func (s *survey) askBackups(ctx context.Context) ([]backupConfig, error) {
	return list(ctx, s.c, s.question("list_backup_configs", "backup configurations", "/backupConfigs"),
		func(b backupConfig) string { return b.ClusterID })
}

// readBackups reads the backup configurations. If that is not allowed, it is the reason why keys of backups can't
// be turned.
func (s *survey) readBackups(ctx context.Context) error {
	configs, err := s.backupsAhead.take(ctx, s.askBackups)
	if refused(err) {
		s.refused = "it can't be known whether backup is on: " + err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	s.backups, s.asked = make(map[string]backupConfig, len(configs)), make(map[string]bool)
	for _, b := range configs {
		s.backups[b.ClusterID] = b
	}
	return nil
}

// askPlan asks for the automation config.
func (s *survey) askPlan(ctx context.Context) (*plan, error) {
	return s.c.projects.of(s.group.ID).config.get(ctx, s.c.now, fresh, func(ctx context.Context) (*plan, error) {
		return s.c.readConfig(ctx, s.group)
	})
}

// readPlan reads the automation config. It may be missing, or not for us to read.
func (s *survey) readPlan(ctx context.Context) error {
	plan, err := s.planAhead.take(ctx, s.askPlan)
	switch {
	case err == nil:
		s.plan, s.unread = plan, "the automation config does not tell it for all of its processes: "+howToKnow
	case refused(err):
		s.unread = fmt.Sprintf("%v: %s", err, howToKnow)
	default:
		return s.c.gaveUp(s.question("get_automation_config", "", ""), err)
	}
	return nil
}

// backup returns why the backup of the component does not let its key be
// rotated; empty: it does.
func (s *survey) backup(ctx context.Context, comp component) (reason string, err error) {
	if s.refused != "" {
		return s.refused, nil
	}
	decides, ok := s.backups[comp.backupID()]
	switch {
	case !ok:
		return "backup is off (there is no backup configuration)", nil
	case decides.StatusName != statusStarted:
		return "backup is off (status " + decides.StatusName + ")", nil
	}
	encrypted := s.backups[comp.ID].EncryptionEnabled
	if encrypted == nil {
		if encrypted, err = s.encryption(ctx, decides); err != nil {
			return "", err
		}
	}
	switch {
	case encrypted == nil:
		return "it is unknown whether encryption is on: the backup configuration does not say so", nil
	case !*encrypted:
		return "encryption is off", nil
	default:
		return "", nil
	}
}

// encryption asks for a backup configuration by itself, once, when the list
// left out whether it is encrypted.
func (s *survey) encryption(ctx context.Context, b backupConfig) (*bool, error) {
	if b.EncryptionEnabled != nil || s.asked[b.ClusterID] {
		return b.EncryptionEnabled, nil
	}
	q := s.question("get_backup_config", "", "/backupConfigs/"+b.ClusterID)
	q.doing, q.header, q.limit, q.turns = "reading the backup configuration of cluster "+b.ClusterID+" in project", s.c.readHeader, keyLimit, 1
	var single backupConfig
	if err := s.c.get(ctx, q, &single); err != nil && !refused(err) {
		return nil, err
	}
	s.asked[b.ClusterID] = true
	b.EncryptionEnabled = single.EncryptionEnabled
	s.backups[b.ClusterID] = b // for the other parts of the same cluster
	return b.EncryptionEnabled, nil
}

func (s *survey) askHosts(ctx context.Context) ([]host, error) { return s.c.listHosts(ctx, s.group) }

// listHosts does so once.
func (s *survey) listHosts(ctx context.Context) error {
	if s.hosts != nil {
		return nil
	}
	hosts, err := s.hostsAhead.take(ctx, s.askHosts)
	if err != nil && !refused(err) {
		return err
	}
	s.hosts = newInventory(hosts, s.clusters)
	return nil
}

// refused reports an answer that is about this resource only: it is not there,
// or not for us.
func refused(err error) bool {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	return ok && e.Kind == keyturn.KindPermanent && !e.Target
}

func isCode(err error, code string) bool {
	e, ok := errors.AsType[*keyturn.SystemError](err)
	return ok && e.Code == code
}
