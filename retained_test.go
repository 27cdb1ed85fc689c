package keyturn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	ago := func(days int) *time.Time { at := now.AddDate(0, 0, -days); return &at }
	old := keyturn.KeyUse{KeyID: "k", Unit: keyturn.Unit{ID: "om.p.c", Target: "om"}, From: *ago(100), Until: ago(10), LookedAt: ago(1)}
	with := func(change func(*keyturn.KeyUse)) keyturn.KeyUse { u := old; change(&u); return u }
	for name, test := range map[string]struct {
		uses   []keyturn.KeyUse
		need   keyturn.KeyNeed
		sure   keyturn.Sureness
		safe   *time.Time
		needed *time.Time
		says   string
	}{
		"nothing needs it": {uses: []keyturn.KeyUse{old}, sure: keyturn.SureExact, safe: ago(10), says: "no snapshot that was seen needs it"},
		"named": {
			uses: []keyturn.KeyUse{old}, need: keyturn.KeyNeed{Named: 2, Until: ago(-30), Clusters: 1}, sure: keyturn.SureExact, safe: ago(-30), needed: ago(-30),
			says: "2 of the snapshots name it",
		},
		"by time": {
			uses: []keyturn.KeyUse{old}, need: keyturn.KeyNeed{Named: 2, ByTime: 1, Until: ago(-30)}, sure: keyturn.SureByTime, safe: ago(-30), needed: ago(-30),
			says: "1 of the snapshots do not name",
		},
		"without an end": {
			uses: []keyturn.KeyUse{old}, need: keyturn.KeyNeed{Named: 2, Endless: 1, Until: ago(-30)}, sure: keyturn.SureUnknown, says: "no expiry",
		},
		"in use": {uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.Until, u.InUse = nil, true })}, sure: keyturn.SureExact},
		"in use by another unit": {
			uses: []keyturn.KeyUse{old, with(func(u *keyturn.KeyUse) { u.Until, u.InUse = nil, true })}, sure: keyturn.SureExact,
		},
		"never looked": {uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.LookedAt = nil })}, sure: keyturn.SureUnknown, says: "never looked at"},
		"looked long ago": {
			uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.LookedAt = ago(4) })}, sure: keyturn.SureUnknown, says: "more than 3 days ago",
		},
		"looked too early": {
			uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.LookedAt = ago(2); u.Until = ago(1) })}, sure: keyturn.SureUnknown, says: "before the key was replaced",
		},
		"could not be listed": {
			uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.Trouble = "403" })}, sure: keyturn.SureUnknown, says: "could not be listed: 403",
		},
		"one of two units": {
			uses: []keyturn.KeyUse{old, with(func(u *keyturn.KeyUse) { u.Unit.ID, u.LookedAt = "om.p.d", nil })}, sure: keyturn.SureUnknown, says: "unit om.p.d",
		},
		"atlas": {
			uses: []keyturn.KeyUse{with(func(u *keyturn.KeyUse) { u.Unit.System = keyturn.SystemAtlas })}, sure: keyturn.SureByTime, safe: ago(10), says: "copies in other regions",
		},
		"only named": {need: keyturn.KeyNeed{Named: 1, Until: ago(-1)}, sure: keyturn.SureUnknown, needed: ago(-1), says: "it is in no history"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keyturn.Judge(keyturn.KeyRef{Target: "om", KeyID: "k"}, test.uses, test.need, now)
			same := func(a, b *time.Time) bool { return a == nil && b == nil || a != nil && b != nil && a.Equal(*b) }
			if k.Sure != test.sure || !same(k.SafeToRetireAt, test.safe) || !same(k.NeededUntil, test.needed) || !strings.Contains(strings.Join(k.Reasons, "; "), test.says) {
				t.Errorf("judged %+v", k)
			}
			if k.Snapshots != test.need.Named+test.need.ByTime {
				t.Errorf("%d snapshots", k.Snapshots)
			}
		})
	}
}

func TestRetirementMessage(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	until, gone := time.Date(2027, 2, 11, 9, 0, 0, 0, time.UTC), now.AddDate(0, 0, -20)
	use := keyturn.KeyUse{KeyID: "k", Unit: keyturn.Unit{ID: "om.p.c"}, Until: &gone, LookedAt: &now}
	for want, need := range map[string]keyturn.KeyNeed{
		"needed by 14 snapshots of 3 clusters until 2027-02-11":                            {Named: 14, Clusters: 3, Until: &until},
		"needed by 1 snapshot of 1 cluster without an end":                                 {ByTime: 1, Endless: 1, Clusters: 1, Until: &until},
		"needed by 1 snapshot of 1 cluster that expired on 2026-05-12 and are still there": {Named: 1, Clusters: 1, Until: &gone},
		"no known snapshot needs it":                                                       {},
	} {
		r := keyturn.Judge(keyturn.KeyRef{KeyID: "k"}, []keyturn.KeyUse{use}, need, now).Retire(now)
		if r.Message != want || (len(r.Needs) == 0) != (need.Clusters == 0) {
			t.Errorf("%q, needs %v; want %q", r.Message, r.Needs, want)
		}
	}
}

func TestKeyJobIsDue(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { t := made.Add(d); return &t }
	for name, test := range map[string]struct {
		job   keyturn.KeyJob
		every time.Duration
		want  *time.Time
	}{
		"first":               {keyturn.KeyJob{}, time.Hour, at(10 * time.Minute)},
		"first, often":        {keyturn.KeyJob{}, time.Minute, at(time.Minute)},
		"again":               {keyturn.KeyJob{DoneAt: at(time.Hour)}, time.Hour, at(2 * time.Hour)},
		"asked":               {keyturn.KeyJob{DoneAt: at(time.Hour), AskedAt: at(70 * time.Minute)}, time.Hour, at(70 * time.Minute)},
		"asked, but due":      {keyturn.KeyJob{AskedAt: at(time.Hour)}, time.Hour, at(10 * time.Minute)},
		"only when asked":     {keyturn.KeyJob{DoneAt: at(time.Hour)}, 0, nil},
		"asked, by hand only": {keyturn.KeyJob{AskedAt: at(time.Hour)}, 0, at(time.Hour)},
	} {
		test.job.CreatedAt = made
		got, ok := test.job.DueAt(test.every, 10*time.Minute)
		if ok != (test.want != nil) || ok && !got.Equal(*test.want) {
			t.Errorf("%s: %v %v, want %v", name, got, ok, test.want)
		}
	}
}
