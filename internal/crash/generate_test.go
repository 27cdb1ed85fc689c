//go:build unix

package crash_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/format"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/alerts"
	"github.com/keyturn/keyturn/internal/crash"
	"github.com/keyturn/keyturn/scheduler"
	"github.com/keyturn/keyturn/worker"
)

var update = flag.Bool("update", false, "write the decorators anew")

const generated = "ports.go"

// port is an interface that gets points.
type port struct {
	name string // of its points, and of the decorator
	typ  reflect.Type
	// method: a point also while it is under way
	during string
}

func ports() []port {
	return []port{
		{name: "store", typ: reflect.TypeFor[worker.Store]()},
		{name: "queue", typ: reflect.TypeFor[worker.Queue]()},
		{name: "systems", typ: reflect.TypeFor[worker.Systems]()},
		{name: "system", typ: reflect.TypeFor[worker.System](), during: "Apply"},
		{name: "maker", typ: reflect.TypeFor[worker.Maker](), during: "Make"},
		{name: "confirmer", typ: reflect.TypeFor[worker.Confirmer]()},
		{name: "targets", typ: reflect.TypeFor[worker.TargetLister]()},
		{name: "schedule", typ: reflect.TypeFor[scheduler.Store]()},
		{name: "publisher", typ: reflect.TypeFor[scheduler.Publisher]()},
		{name: "deliveries", typ: reflect.TypeFor[worker.DeliveryStore]()},
		{name: "sender", typ: reflect.TypeFor[worker.WebhookSender](), during: "Send"},
		{name: "alerts", typ: reflect.TypeFor[alerts.Store]()},
	}
}

// reads change nothing: before and after one of them the same is durable, so one point, after it, is enough.
func reads() []string {
	return []string{
		"store.AnnouncedKeys", "store.AnnouncedTasks", "store.KeyAges", "store.KnownKeys", "store.Notice", "store.PoliciesOf",
		"store.Rotation", "store.Unplanned", "store.ProvidedKey", "confirmer.Confirm", "queue.Waiting", "systems.System", "system.Current", "system.Discover",
		"targets.Targets", "schedule.Superseded", "deliveries.DueWebhooks",
	}
}

// pointless says which methods have no point, and why. Anything that changes something, or calls somebody, belongs
// here only if a death there is the same as one at a point that there is.
func pointless() map[string]string {
	const (
		pruned  = "every ten minutes, and only removes what nobody looks at any more: as one transaction"
		metrics = "read every 15 seconds, for metrics only"
		facts   = "read by the evaluation of alerts, which writes with SaveAlerts, SaveNotice and NoteSweep"
	)
	return map[string]string{
		"store.UnnamedKeys":            "read before NameKeys",
		"store.AnnouncedRetired":       "read like AnnouncedKeys, for keys that a person had disabled",
		"store.NameKeys":               "one statement that only adds: what was not written is found again at the next look",
		"store.MissedPolicies":         metrics,
		"store.StuckRotations":         metrics,
		"store.PastDeadlines":          metrics,
		"schedule.NextDue":             "only says how long the scheduler sleeps",
		"deliveries.PruneDeliveries":   pruned,
		"deliveries.PruneHookRequests": pruned,
		"alerts.PruneAlerts":           pruned,
		"alerts.PruneNotices":          pruned,
		"alerts.SweepPolicies":         facts,
		"alerts.ResourcesOf":           facts,
		"alerts.OldKeys":               facts,
		"alerts.BaselessKeyAlerts":     facts,
		"alerts.Evidence":              facts,
		"alerts.MissedPolicies":        facts,
		"alerts.StuckRotations":        facts,
		"alerts.PastDeadlines":         facts,
		"alerts.UnitsOf":               facts,
		"alerts.CountUnits":            facts,
		"alerts.OpenAlertsOf":          facts,
		"alerts.OpenAlerts":            facts,
		"alerts.LapsedAcks":            facts,
		"alerts.OpenAlertCounts":       facts,
		"alerts.DueGroups":             facts,
		"alerts.SummarizeGroup":        facts,
		"alerts.FiringAlerts":          facts,
	}
}

// TestExceptions_AreMethods keeps the lists of methods with one point, and with none, from naming what is gone.
func TestExceptions_AreMethods(t *testing.T) {
	t.Parallel()
	methods := map[string]bool{}
	for _, p := range ports() {
		for i := range p.typ.NumMethod() {
			methods[p.name+"."+p.typ.Method(i).Name] = true
		}
	}
	for _, name := range reads() {
		if !methods[name] {
			t.Errorf("%s has one point, and is not a method", name)
		}
		if why := pointless()[name]; why != "" {
			t.Errorf("%s has one point, and none: %s", name, why)
		}
	}
	for name, why := range pointless() {
		if !methods[name] || why == "" {
			t.Errorf("%s has no point, because %q, and is not a method or says not why", name, why)
		}
	}
}

// TestPorts_HavePointsAtEveryMethod holds the decorators to the interfaces: a
// method that is added to a port has no point until they are written anew.
func TestPorts_HavePointsAtEveryMethod(t *testing.T) {
	t.Parallel()
	want, points := generate(t)
	if *update {
		if err := os.WriteFile(generated, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Fatal("ports.go is not what the ports say now; write it anew: go test ./internal/crash -run Ports -update")
	}
	if *update {
		return // this program still has the old ones
	}
	for _, point := range points {
		if !slices.Contains(crash.Names(), point) {
			t.Errorf("no point %s", point)
		}
	}
}

func generate(t *testing.T) (source []byte, points []string) {
	t.Helper()
	var body strings.Builder
	for _, p := range ports() {
		decorator := p.name + "Points"
		fmt.Fprintf(&body, "type %s struct {\n%s\nat *Points\n}\n\n", decorator, p.typ)
		for i := range p.typ.NumMethod() {
			if m := p.typ.Method(i); pointless()[p.name+"."+m.Name] == "" {
				points = append(points, method(&body, p, m)...)
			}
		}
	}
	var list strings.Builder
	for _, point := range points {
		fmt.Fprintf(&list, "%q,\n", point)
	}
	imports := ""
	for _, path := range []string{"context", "time", "github.com/keyturn/keyturn", "github.com/keyturn/keyturn/internal/alerts", "github.com/keyturn/keyturn/scheduler", "github.com/keyturn/keyturn/worker"} {
		if name := path[strings.LastIndex(path, "/")+1:]; strings.Contains(body.String(), name+".") {
			imports += fmt.Sprintf("%q\n", path)
			if path == "time" {
				imports += "\n"
			}
		}
	}
	source, err := format.Source([]byte(fmt.Sprintf(`// Code generated by generate_test.go; DO NOT EDIT.

//go:build unix

package crash

import (
%s)

func portPoints() []string {
return []string{
%s}
}

%s`, imports, list.String(), body.String())))
	if err != nil {
		t.Fatal(err)
	}
	return source, points
}

// method writes one method of a decorator. The ports know each other: a system
// that is found gets points, and so does what consumers are given.
func method(w *strings.Builder, p port, m reflect.Method) (points []string) {
	var params, args []string
	consumes := false
	for i := range m.Type.NumIn() {
		in := m.Type.In(i)
		arg := fmt.Sprintf("a%d", i)
		params = append(params, arg+" "+in.String())
		if in == reflect.TypeFor[func(context.Context, worker.Delivery)]() {
			consumes = true
			arg = fmt.Sprintf("p.at.handler(%q, %s)", strings.ToLower(strings.TrimPrefix(m.Name, "Consume")), arg)
		}
		args = append(args, arg)
	}
	var results, types []string
	for i := range m.Type.NumOut() {
		results = append(results, fmt.Sprintf("r%d", i))
		types = append(types, m.Type.Out(i).String())
	}
	call := fmt.Sprintf("p.%s.%s(%s)", p.typ.Name(), m.Name, strings.Join(args, ", "))
	fmt.Fprintf(w, "func (p %sPoints) %s(%s) (%s) {\n", p.name, m.Name, strings.Join(params, ", "), strings.Join(types, ", "))
	defer w.WriteString("}\n\n")
	if consumes { // it returns when the process ends; its deliveries have points
		fmt.Fprintf(w, "return %s\n", call)
		return nil
	}
	at := p.name + "." + m.Name
	points = []string{at + ".after"}
	if !slices.Contains(reads(), at) {
		points = append(points, at+".before")
		fmt.Fprintf(w, "p.at.Pass(%q)\n", at+".before")
	}
	if m.Name == p.during {
		points = append(points, at+".during")
		fmt.Fprintf(w, "defer p.at.during(%q)()\n", at+".during")
	}
	if len(results) > 0 {
		fmt.Fprintf(w, "%s := ", strings.Join(results, ", "))
	}
	fmt.Fprintf(w, "%s\np.at.Pass(%q)\n", call, at+".after")
	if len(types) > 0 && types[0] == "worker.System" {
		w.WriteString("if r0 != nil {\nr0 = systemPoints{r0, p.at}\n}\n")
	}
	if len(results) > 0 {
		fmt.Fprintf(w, "return %s\n", strings.Join(results, ", "))
	}
	return points
}
