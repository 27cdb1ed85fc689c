package simulator

import (
	"bufio"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"

	"go.uber.org/zap"
)

// controlHandler serves /simulator/: what tests and people use to steer the
// simulation and to look behind it. It asks for no authentication.
func (s *Simulator) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simulator/truth", s.getTruth)
	mux.HandleFunc("GET /simulator/units", s.getUnits)
	mux.HandleFunc("GET /simulator/faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Faults()) })
	mux.HandleFunc("PUT /simulator/faults", func(w http.ResponseWriter, r *http.Request) { s.putFaults(w, r, Faults{}) })
	mux.HandleFunc("PATCH /simulator/faults", func(w http.ResponseWriter, r *http.Request) { s.putFaults(w, r, s.Faults()) })
	mux.HandleFunc("GET /simulator/stats", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("DELETE /simulator/stats", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetStats()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /simulator/clusters/{id}/rotate", s.postRotate)
	mux.HandleFunc("DELETE /simulator/clusters/{id}", s.deleteCluster)
	mux.HandleFunc("GET /simulator/projects/{id}/automation", s.getAutomation)
	mux.HandleFunc("POST /simulator/projects/{id}/edit", s.postEdit)
	mux.HandleFunc("PUT /simulator/projects/{id}/lock", s.putLock)
	mux.HandleFunc("DELETE /simulator/projects/{id}/lock", s.deleteLock)
	return mux
}

// putFaults reads faults over those given and puts them to work.
func (s *Simulator) putFaults(w http.ResponseWriter, r *http.Request, f Faults) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		writeError(w, http.StatusBadRequest, "reading the faults: "+err.Error())
		return
	}
	if err := s.SetFaults(f); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.log.Info("simulator faults changed", zap.Any("faults", f))
	writeJSON(w, http.StatusOK, s.Faults())
}

// getTruth answers one JSON object, or with format=ndjson a record a line.
// after=SEQ and limit=N cut a page out.
func (s *Simulator) getTruth(w http.ResponseWriter, r *http.Request) {
	after, ok1 := wholeNumber(r.FormValue("after"))
	limit, ok2 := wholeNumber(r.FormValue("limit"))
	if !ok1 || !ok2 {
		writeError(w, http.StatusBadRequest, "after and limit are whole numbers from 0")
		return
	}
	s.estate.settle()
	records := s.estate.truth.after(after, int(limit))
	switch r.FormValue("format") {
	case "ndjson":
		writeLines(w, records)
	case "", "json":
		next := after
		if len(records) > 0 {
			next = records[len(records)-1].Seq
		} else {
			records = []Record{}
		}
		writeJSON(w, http.StatusOK, struct {
			Total   int64    `json:"total"`
			Next    int64    `json:"next"` // the after of the next page
			Records []Record `json:"records"`
		}{s.estate.truth.total(), next, records})
	default:
		writeError(w, http.StatusBadRequest, "format is json or ndjson")
	}
}

func (s *Simulator) getUnits(w http.ResponseWriter, _ *http.Request) {
	writeLines(w, s.estate.Units())
}

func (s *Simulator) postRotate(w http.ResponseWriter, r *http.Request) {
	record, err := s.estate.Rotate(r.PathValue("id"))
	if err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, record)
}

func (s *Simulator) deleteCluster(w http.ResponseWriter, r *http.Request) {
	if !s.estate.Remove(r.PathValue("id")) {
		writeError(w, http.StatusNotFound, "there is no cluster "+strconv.Quote(r.PathValue("id")))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Simulator) getAutomation(w http.ResponseWriter, r *http.Request) {
	stats, _, err := s.estate.Automation(r.PathValue("id"))
	if err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, stats)
}

func (s *Simulator) postEdit(w http.ResponseWriter, r *http.Request) {
	s.changed(w, s.estate.EditAutomation(r.PathValue("id"), r.FormValue("stale") == "true"))
}

func (s *Simulator) putLock(w http.ResponseWriter, r *http.Request) {
	policy, holder := cmp.Or(r.FormValue("policy"), "EXTERNALLY_MANAGED_LOCK"), cmp.Or(r.FormValue("holder"), "mongodb-kubernetes-operator")
	s.changed(w, s.estate.Lock(r.PathValue("id"), policy, holder))
}

func (s *Simulator) deleteLock(w http.ResponseWriter, r *http.Request) {
	s.changed(w, s.estate.Lock(r.PathValue("id"), "", ""))
}

func (s *Simulator) changed(w http.ResponseWriter, err error) {
	if err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func wholeNumber(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil && n >= 0
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
}

// writeLines writes one JSON object a line.
func writeLines[T any](w http.ResponseWriter, list []T) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	buf := bufio.NewWriterSize(w, 32<<10)
	e := json.NewEncoder(buf)
	for i := range list {
		if e.Encode(list[i]) != nil { // the client is gone
			return
		}
	}
	_ = buf.Flush() // fails only when the client is gone
}
