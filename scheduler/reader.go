package scheduler

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
)

// maxCalendars bounds how many calendars a Reader keeps.
const maxCalendars = 64

// Reader reads schedules. It keeps the zones and calendars that it has read,
// because reading those takes longer than everything else about a schedule. The
// zero value is ready, and safe for concurrent use.
type Reader struct {
	zones zoneCache
	mu    sync.Mutex
	texts map[string][]event // by the text of the calendar
	files map[string]calendarFile
}

type calendarFile struct {
	modified time.Time
	size     int64
	events   []event
}

// Timetable reads a schedule as Parse does.
func (r *Reader) Timetable(s keyturn.Schedule) (*Timetable, error) { return r.parse(s) }

// calendarOf returns the events of a blackout's calendars.
func (r *Reader) calendarOf(b keyturn.Blackout) ([]event, error) {
	var events []event
	if b.ICal != "" {
		inline, err := r.inline(b.ICal)
		if err != nil {
			return nil, fmt.Errorf("ical: %w", err)
		}
		events = inline
	}
	if b.ICalFile == "" {
		return events, nil
	}
	file, err := r.file(b.ICalFile)
	if err != nil {
		return nil, fmt.Errorf("icalFile: %w", err)
	}
	return append(events[:len(events):len(events)], file...), nil
}

func (r *Reader) inline(text string) ([]event, error) {
	r.mu.Lock()
	events, ok := r.texts[text]
	r.mu.Unlock()
	if ok {
		return events, nil
	}
	events, err := parseCalendar(text, r.zones.load)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil || len(r.texts) >= maxCalendars {
		r.texts = make(map[string][]event)
	}
	r.texts[text] = events
	return events, nil
}

// file reads a calendar's file again when it has changed. A file that can't be
// read is an error: its blackouts must not be forgotten silently.
func (r *Reader) file(path string) ([]event, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("the path %q must be absolute: the server reads it, wherever it runs", path)
	}
	about, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the calendar: %w", err)
	case !about.Mode().IsRegular():
		return nil, fmt.Errorf("reading the calendar: %s is no regular file", path)
	case about.Size() > maxCalendar:
		return nil, fmt.Errorf("reading the calendar: %s is larger than %d bytes: leave out what lies in the past", path, maxCalendar)
	}
	r.mu.Lock()
	known, ok := r.files[path]
	r.mu.Unlock()
	if ok && known.modified.Equal(about.ModTime()) && known.size == about.Size() {
		return known.events, nil
	}
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("reading the calendar: %w", err)
	}
	events, err := parseCalendar(text, r.zones.load)
	if err != nil {
		return nil, fmt.Errorf("reading the calendar %s: %w", path, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil || len(r.files) >= maxCalendars {
		r.files = make(map[string]calendarFile)
	}
	r.files[path] = calendarFile{modified: about.ModTime(), size: about.Size(), events: events}
	return events, nil
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", err //nolint:wrapcheck // the caller says what was done; the error names the file
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxCalendar+1))
	return string(data), err //nolint:wrapcheck // as above
}
