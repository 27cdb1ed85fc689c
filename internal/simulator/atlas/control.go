package atlas

import (
	"encoding/json"
	"net/http"
)

// serveControl serves /simulator/: what tests and people use to steer the simulation and to look behind it.
func (s *Simulator) serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /simulator/truth":
		writeJSON(w, http.StatusOK, map[string]any{"records": s.Truth()})
	case "GET /simulator/patches":
		writeJSON(w, http.StatusOK, map[string]any{"patches": s.Patches()})
	case "PUT /simulator/faults":
		var f Faults
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "reading the faults: " + err.Error()})
			return
		}
		s.SetFaults(f)
		w.WriteHeader(http.StatusNoContent)
	default:
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "there are GET truth, GET patches and PUT faults"})
	}
}
