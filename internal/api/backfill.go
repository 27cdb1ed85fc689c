package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/calendar"
)

// maxBackfill is how many rotations one backfill asks for at most.
const maxBackfill = 1000

type backfillInput struct {
	Name string `path:"name" maxLength:"100" doc:"The policy's name."`
	Body struct {
		From   string `json:"from" maxLength:"60" doc:"Slots from this instant (RFC 3339), or this day of the policy's time zone, on."`
		To     string `json:"to,omitempty" maxLength:"60" doc:"Slots before this instant or day; empty, or in the future: those up to now."`
		DryRun bool   `json:"dryRun,omitempty" doc:"Only list the slots that have no rotation."`
		Reason string `json:"reason,omitempty" maxLength:"500" doc:"Why; kept with the rotations."`
	}
}

// MissedSlot is a slot that has, or had, no rotation.
type MissedSlot struct {
	calendar.Slot

	Rotation string `json:"rotation" doc:"The id of the rotation that was asked for now; empty in a dry run."`
}

// Backfilled are the slots of a policy that had no rotation.
type Backfilled struct {
	Policy  string       `json:"policy"`
	Checked int          `json:"checked" doc:"How many slots lie in the range."`
	Items   []MissedSlot `json:"items" nullable:"false" doc:"Those without a rotation."`
}

type backfillOutput struct {
	Body Backfilled
}

func (s *server) registerBackfill() {
	handle(s, operation{
		id: "backfill-policy", method: http.MethodPost, path: "/policies/{name}/backfill", role: keyturn.RoleOperator, tag: "policies",
		summary: "Ask for a rotation for each slot of the past that has none", status: http.StatusOK, timeout: planTimeout,
	}, s.backfill)
}

// backfill may be repeated: a slot has one rotation, whoever asks how often.
func (s *server) backfill(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	slots, described, err := s.pastSlots(ctx, in)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(slots))
	for i, slot := range slots {
		names[i] = slot.Name()
	}
	taken, err := s.Store.TakenSlots(ctx, in.Name, names)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(taken))
	for _, name := range taken {
		known[name] = true
	}
	body := Backfilled{Policy: in.Name, Checked: len(slots), Items: []MissedSlot{}}
	var missing []keyturn.Slot
	for i, slot := range slots {
		if !known[names[i]] {
			missing = append(missing, slot)
			body.Items = append(body.Items, MissedSlot{Slot: described[i]})
		}
	}
	if in.Body.DryRun {
		return &backfillOutput{Body: body}, nil
	}
	if len(missing) > maxBackfill {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("%d slots have no rotation: ask for at most %d at a time, with a shorter range", len(missing), maxBackfill))
	}
	for i := range missing {
		rotation, err := s.requestSlot(ctx, in, &missing[i])
		if err != nil {
			return nil, err
		}
		body.Items[i].Rotation = rotation.ID.String()
	}
	return &backfillOutput{Body: body}, nil
}

func (s *server) requestSlot(ctx context.Context, in *backfillInput, slot *keyturn.Slot) (keyturn.Rotation, error) {
	reason := "backfill"
	if in.Body.Reason != "" {
		reason += ": " + in.Body.Reason
	}
	recorded := audited(ctx, "policy.backfill", in.Name, in.Body.Reason, map[string]string{"slot": slot.Name()})
	rotation, _, err := s.Store.Request(recorded, keyturn.Request{
		Policy: in.Name, Trigger: keyturn.TriggerSchedule, Slot: slot, Reason: reason, RequestedBy: requestedBy(ctx),
	})
	if err != nil {
		return rotation, missing(err, "policy", in.Name)
	}
	s.wake(ctx, rotation)
	return rotation, nil
}

// pastSlots lists a policy's slots in the range that was asked for, up to now.
func (s *server) pastSlots(ctx context.Context, in *backfillInput) ([]keyturn.Slot, []calendar.Slot, error) {
	policy, table, err := s.timetable(ctx, in.Name)
	if err != nil {
		return nil, nil, err
	}
	if strings.TrimSpace(policy.Schedule.Cron) == "" && policy.Schedule.MaxAge == 0 {
		return nil, nil, huma.Error422UnprocessableEntity(fmt.Sprintf("policy %q has no schedule, so no slot of it was missed: `keyturn rotate %s` rotates now", in.Name, in.Name))
	}
	if table.Relative() {
		return nil, nil, huma.Error422UnprocessableEntity("slots of @every are counted from one another: only with startAt is it known which were missed")
	}
	now, err := s.Store.Now(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the database for the time: %w", err)
	}
	from, to, err := pastRange(in, policy.Schedule.Timezone, now)
	if err != nil {
		return nil, nil, err
	}
	slots, complete, err := calendar.Between(ctx, table, from, to)
	if err == nil && !complete {
		err = huma.Error422UnprocessableEntity(fmt.Sprintf("more than %d slots lie in the range: ask for a shorter one", calendar.MaxSlots))
	}
	if err != nil {
		return nil, nil, err
	}
	described := make([]calendar.Slot, len(slots))
	for i, slot := range slots {
		if described[i], err = calendar.Describe(table, slot); err != nil {
			return nil, nil, err
		}
	}
	return slots, described, nil
}

// pastRange reads the range that was asked for, up to now. One without an instant of the past is a mistake:
// that each of its slots has its rotation would be true, and no help.
func pastRange(in *backfillInput, timezone string, now time.Time) (from, to time.Time, err error) {
	if from, err = calendar.ParseTime(in.Body.From, timezone); err != nil {
		return from, to, huma.Error422UnprocessableEntity("body.from: " + err.Error())
	}
	to = now
	if in.Body.To != "" {
		if to, err = calendar.ParseTime(in.Body.To, timezone); err != nil {
			return from, to, huma.Error422UnprocessableEntity("body.to: " + err.Error())
		}
		if !from.Before(to) {
			return from, to, huma.Error422UnprocessableEntity("body.to: the range ends before it begins: give a time after from")
		}
	}
	if !from.Before(now) {
		return from, to, huma.Error422UnprocessableEntity("body.from: the range is in the future, and only slots of the past can be without a rotation")
	}
	if now.Before(to) {
		to = now
	}
	return from, to, nil
}
