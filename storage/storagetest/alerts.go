package storagetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/alerts"
)

func alertTests() map[string]func(*testing.T, New) {
	return map[string]func(*testing.T, New){
		"KeyAgeBeginsGetsWorseAndEndsWithTheRotation": alertKeyAge,
		"OneSweeperSeesAgesPass":                      alertIncremental,
		"KeyFirstSeenIsSaidToBeAtLeastSoOld":          alertInexact,
		"TenThousandKeysAreOneNotice":                 alertTenThousand,
		"GroupThatGrowsIsNotToldEachTime":             alertGrows,
		"StrictestPolicyCounts":                       alertStrictest,
		"UnitsThatNoPolicySelectsHaveNoAlert":         alertUnselected,
		"AcknowledgedIsQuietUntilItsTimeIsOver":       alertAcknowledged,
		"AcknowledgedThatGetsWorseFiresAgain":         alertAcknowledgedWorse,
		"WholeGroupIsAcknowledgedInOneNotice":         alertAcknowledgedGroup,
		"ResolvedCanNotBeAcknowledged":                alertAcknowledgedLate,
		"IsRepeated":                                  alertRepeats,
		"IsRepeatedAsThePolicySays":                   alertRepeatsByPolicy,
		"SilencedIsThereButNobodyIsTold":              alertSilenced,
		"SilenceOfOneClusterLeavesTheOthers":          alertSilencedCluster,
		"FlappingTargetIsOneAlert":                    alertFlaps,
		"UnreachableTargetGetsCritical":               alertUnreachable,
		"RejectedCredentials":                         alertRejected,
		"ParkedTask":                                  alertParked,
		"PartialRotationNamesMixedClusters":           alertPartial,
		"FailedRotationEndsWithALaterSuccess":         alertFailed,
		"StuckRotation":                               alertStuck,
		"MissedSlot":                                  alertMissed,
		"DriftPassesByItself":                         alertDrift,
		"WebhookThatTakesNothing":                     alertWebhook,
		"WhatAWebhookDidNotTake":                      alertWebhookParked,
		"WebhookThatWantsNothing":                     alertWebhookGone,
		"EachWebhookAndHookIsToldOfByItself":          alertWebhooks,
		"KeyOfAParkedTaskIsNoDrift":                   alertDriftParked,
		"RaisedByOthers":                              alertRaised,
		"SourceOfItsOwn":                              alertSource,
		"CrashBeforeTheNoticeLosesNone":               alertCrash,
		"TwoSweepersTellOnce":                         alertTwoSweepers,
		"LateSweeperIsRefused":                        alertLateSweeper,
		"ChangeOfAnAcknowledgedOneIsNotOverwritten":   alertVersions,
		"ListingHasTheOpenOnesFirst":                  alertListing,
		"HistoryIsAppendOnly":                         alertAppendOnly,
		"WhatIsLongOverIsRemoved":                     alertPruned,
		"NoticesThatWereToldAreRemoved":               alertNoticesPruned,
		"EvaluationRemovesWhatIsLongOver":             alertPrunes,
	}
}

const day = 24 * time.Hour

// look evaluates as a process does that has just been started.
func (f *fixture) evaluate() {
	f.t.Helper()
	e := f.evaluator
	if e == nil {
		e = alerts.New(alerts.Config{Owner: "sweeper-1", Store: f.Store})
	}
	f.ok(e.Pass(f.ctx()))
}

// after lets time go by, looks, waits for groups to gather, and returns what was told.
func (f *fixture) after(d time.Duration) []keyturn.Notice {
	f.t.Helper()
	f.clock.Advance(d)
	f.evaluate()
	f.clock.Advance(keyturn.GroupWait)
	f.evaluate()
	return f.told()
}

// told returns, once, the notices that wait to be announced.
func (f *fixture) told() []keyturn.Notice {
	f.t.Helper()
	var out []keyturn.Notice
	for _, a := range f.drain() {
		if a.Type == "notice" {
			n, err := f.Notice(f.ctx(), a.Notice)
			f.ok(err)
			out = append(out, n)
		}
	}
	return out
}

// tell fails unless exactly one thing was told, and returns it.
func (f *fixture) tell(got []keyturn.Notice, kind keyturn.AlertKind, state keyturn.AlertState) keyturn.Notice {
	f.t.Helper()
	if len(got) != 1 || got[0].Kind != kind || got[0].State != state {
		f.t.Fatalf("told %s, want one notice that %s is %s", show(got), kind, state)
	}
	return got[0]
}

func (f *fixture) quiet(got []keyturn.Notice) {
	f.t.Helper()
	if len(got) != 0 {
		f.t.Fatalf("told %s, want nothing", show(got))
	}
}

func show(notices []keyturn.Notice) string {
	var b strings.Builder
	for _, n := range notices {
		fmt.Fprintf(&b, "[%s %s %s %q]", n.Group, n.State, n.Severity, n.Message)
	}
	return b.String()
}

// open returns the open alerts of a kind.
func (f *fixture) open(kind keyturn.AlertKind) []keyturn.Alert {
	f.t.Helper()
	list, _, err := f.Alerts(f.ctx(), keyturn.AlertFilter{Kind: kind, Page: keyturn.Page{Limit: 1000}})
	f.ok(err)
	var out []keyturn.Alert
	for _, a := range list {
		if a.State != keyturn.AlertResolved {
			out = append(out, a)
		}
	}
	return out
}

// oneOpen returns the only open alert of a kind.
func (f *fixture) oneOpen(kind keyturn.AlertKind) keyturn.Alert {
	f.t.Helper()
	list := f.open(kind)
	if len(list) != 1 {
		f.t.Fatalf("%d open alerts %s, want 1: %+v", len(list), kind, list)
	}
	return list[0]
}

// states are the states that an alert went through.
func (f *fixture) states(id keyturn.ID) string {
	f.t.Helper()
	_, changes, err := f.Alert(f.ctx(), id)
	f.ok(err)
	var out []string
	for _, c := range changes {
		out = append(out, string(c.State)+"/"+string(c.Severity))
	}
	return strings.Join(out, " ")
}

// turned makes units whose keys were turned just now, by one rotation that has ended.
func (f *fixture) turned(units ...keyturn.Unit) {
	f.t.Helper()
	_, tasks := f.running("quarterly", units...)
	f.turnAllTo(tasks, "new")
	_, err := f.FinishRotations(f.ctx())
	f.ok(err)
	f.drain()
}

func (f *fixture) turnAllTo(tasks []keyturn.Task, key string) {
	f.t.Helper()
	writes, results := make([]keyturn.IntentWrite, len(tasks)), make([]keyturn.TaskResult, len(tasks))
	for i, t := range tasks {
		before := f.unitKeys[t.Unit]
		if before == "" {
			before = "before"
		}
		writes[i] = f.write(t.ID, before)
	}
	out, err := f.Intend(f.ctx(), writes)
	f.ok(err)
	for i, o := range out {
		if o.Verdict != keyturn.VerdictGo {
			f.t.Fatalf("verdict is %q, want go", o.Verdict)
		}
		key := fmt.Sprintf("%s-%d-%s", key, f.clock.Now().Unix(), tasks[i].Unit)
		results[i] = succeeded(tasks[i].ID, o.Epoch, key)
		f.unitKeys[tasks[i].Unit] = key
	}
	taken, err := f.Finish(f.ctx(), results)
	f.ok(err)
	for _, ok := range taken.Taken {
		if !ok {
			f.t.Fatal("a result was refused")
		}
	}
}

// apply applies a resource as it is.
func (f *fixture) apply(kind keyturn.ResourceKind, name string, spec any) {
	f.t.Helper()
	expect := int64(0)
	if r, err := f.Resource(f.ctx(), kind, name); err == nil {
		expect = r.Generation
	}
	change := keyturn.ResourceChange{Kind: kind, Name: name, Expect: expect}
	if spec != nil {
		change.Spec = encode(f.t, spec)
	}
	f.ok(f.ApplyResources(f.ctx(), []keyturn.ResourceChange{change}))
}
