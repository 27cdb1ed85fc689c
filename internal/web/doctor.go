package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"

	"github.com/keyturn/keyturn"
)

// doctorExamples is how many units are named of those that lack the same.
const doctorExamples = 5

// lack is what keeps units from being turned, and which.
type lack struct {
	Reason, Fix string
	Passing     bool
	Units       int
	Selected    int // that a policy selects
	Examples    []keyturn.Finding
}

// way is how keys would be turned, and of how many units.
type way struct {
	Name  string
	Units int
}

// doctorPage is what doctor finds out about a target. Of thousands of units it shows sums and examples.
type doctorPage struct {
	Target string
	keyturn.Diagnosis
	Ways  []way
	Lacks []lack
	Ages  bool // the target itself tells of old keys
}

func (s *Site) doctor(ctx context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	page := doctorPage{Target: name}
	if err := v.get(ctx, "/doctor?target="+url.QueryEscape(name), &page.Diagnosis); err != nil {
		return nil, err
	}
	page.sum()
	page.Ages = slices.ContainsFunc(page.Thresholds, func(t keyturn.Threshold) bool { return t.ID != "" })
	return &view{Title: "Examination of " + name, Nav: "targets", Template: "doctor", Fragment: "doctor", Data: page}, nil
}

// sum puts units together for which the same is to be said.
func (p *doctorPage) sum() {
	ways, lacks := map[string]int{}, map[[2]string]*lack{}
	for _, u := range p.Units {
		if u.Rotatable {
			ways[u.Way]++
			continue
		}
		key := [2]string{u.Reason, u.Fix}
		l := lacks[key]
		if l == nil {
			l = &lack{Reason: u.Reason, Fix: u.Fix, Passing: u.Passing}
			lacks[key] = l
		}
		l.Units++
		if len(u.Policies) > 0 {
			l.Selected++
		}
		if len(l.Examples) < doctorExamples {
			l.Examples = append(l.Examples, u)
		}
	}
	for name, n := range ways {
		p.Ways = append(p.Ways, way{name, n})
	}
	slices.SortFunc(p.Ways, func(a, b way) int { return cmp.Or(cmp.Compare(b.Units, a.Units), cmp.Compare(a.Name, b.Name)) })
	for _, l := range lacks {
		p.Lacks = append(p.Lacks, *l)
	}
	slices.SortFunc(p.Lacks, func(a, b lack) int { return cmp.Or(cmp.Compare(b.Units, a.Units), cmp.Compare(a.Reason, b.Reason)) })
	slices.SortStableFunc(p.Checks, func(a, b keyturn.Check) int { return cmp.Compare(checkOrder(a.State), checkOrder(b.State)) })
}

func checkOrder(s keyturn.CheckState) int {
	return slices.Index([]keyturn.CheckState{keyturn.CheckFailed, keyturn.CheckUnknown, keyturn.CheckWarning, keyturn.CheckOK}, s)
}

func (s *Site) askThresholds(_ context.Context, v *visit) (*view, error) {
	name := v.PathValue("name")
	return v.form(ask{
		Title: "Set the ages at which " + name + " tells of old keys?", Nav: "targets", Button: "Set the ages", Back: "/targets/" + url.PathEscape(name),
		What: []string{
			"The target has alerts of its own about keys that should be turned. Their ages are set to those at which your policies warn.",
			"This changes the alert configurations of the target's projects. No key is touched.",
		},
	}), nil
}

func (s *Site) thresholds(ctx context.Context, v *visit) (done, error) {
	path := "/targets/" + url.PathEscape(v.PathValue("name"))
	var set listing[keyturn.Threshold]
	err := v.call(ctx, http.MethodPost, path+"/thresholds", nil, &set)
	return done{To: path, Message: plural(len(set.Items), "alert configuration is", "alert configurations are") + " set."}, err
}

// checkChip says how a check went.
func checkChip(s keyturn.CheckState) chip {
	tone := map[keyturn.CheckState]string{
		keyturn.CheckOK: toneOK, keyturn.CheckWarning: toneWarn, keyturn.CheckFailed: toneBad,
	}[s]
	tone = cmp.Or(tone, toneNeutral)
	return chip{Tone: tone, Icon: toneIcon(tone), Text: string(s)}
}
