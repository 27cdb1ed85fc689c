package worker

import (
	"context"

	"github.com/keyturn/keyturn"
)

// whole is what an announcement tells of, where its row has only the ids.
type whole struct {
	keyturn.Told

	retired []keyturn.RetiredKey
}

// read finds out what each of the announcements tells of: what this process recorded itself it still knows, and the rest
// is read from the database, for all of them at once.
func (a *announcer) read(ctx context.Context, notes []keyturn.Announcement) ([]whole, error) {
	out := make([]whole, len(notes))
	of := map[keyturn.ID]int{} // the announcement of a task or key that is to be read
	var ended, seen, retired []keyturn.ID
	for i, note := range notes {
		if what, ok := a.recorded.take(note.ID); ok {
			out[i].Told = what
			continue
		}
		for _, ids := range [][]keyturn.ID{note.Tasks, note.Keys, note.Retired} {
			for _, id := range ids {
				of[id] = i
			}
		}
		ended, seen, retired = append(ended, note.Tasks...), append(seen, note.Keys...), append(retired, note.Retired...)
	}
	if len(ended) > 0 {
		tasks, records, err := a.store.AnnouncedTasks(ctx, ended)
		if err != nil {
			return nil, err
		}
		for _, t := range tasks {
			what := &out[of[t.ID]]
			what.Tasks = append(what.Tasks, t)
		}
		for _, r := range records {
			what := &out[of[r.Task]]
			what.Records = append(what.Records, r)
		}
	}
	if len(seen) > 0 {
		records, err := a.store.AnnouncedKeys(ctx, seen)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			what := &out[of[r.ID]]
			what.Records = append(what.Records, r)
		}
	}
	if len(retired) == 0 {
		return out, nil
	}
	keys, err := a.store.AnnouncedRetired(ctx, retired)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		what := &out[of[k.ID]]
		what.retired = append(what.retired, k)
	}
	return out, nil
}
