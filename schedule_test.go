package keyturn_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/keyturn/keyturn"
)

// Whoever adds a field to Schedule has to say here whether it leaves a schedule plain.
func TestSchedule_PlainIsDecidedByTheTimeOnly(t *testing.T) {
	t.Parallel()
	leave := []string{"Cron", "Timezone", "Gap", "Fold", "StartAt", "EndAt", "Jitter", "CatchUp", "CatchUpWindow", "MinInterval"}
	if !(keyturn.Schedule{}).Plain() {
		t.Error("the empty schedule is not plain")
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[keyturn.Schedule]()) {
		var s keyturn.Schedule
		v := reflect.ValueOf(&s).Elem().FieldByIndex(field.Index)
		switch v.Kind() {
		case reflect.String:
			v.SetString("skip")
		case reflect.Int64:
			v.SetInt(1)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		default:
			t.Fatalf("%s: a kind of field that this test does not know", field.Name)
		}
		if got, want := s.Plain(), slices.Contains(leave, field.Name); got != want {
			t.Errorf("with %s the schedule is plain: %v, want %v", field.Name, got, want)
		}
	}
	if !(keyturn.Schedule{Overlap: keyturn.OverlapQueue}).Plain() {
		t.Error("overlap: queue is the default, and is not plain")
	}
}
