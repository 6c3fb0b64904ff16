package island

import (
	"encoding/json"
	"net/http"
)

// problem is why a request was refused, as all of Atoll's own API says it.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Remedy  string `json:"remedy"`
}

func (p problem) answer(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client went away
}

// refuseStarting answers for rooms that are not there yet, also for those whose
// errors have Prometheus' form: it has the fields of both.
func refuseStarting(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	const message = "the island is still starting"
	_ = json.NewEncoder(w).Encode(struct { // the client went away
		Status string `json:"status"`
		Type   string `json:"errorType"`
		Error  string `json:"error"`
		problem
	}{"error", "unavailable", message, problem{Code: "starting", Message: message, Remedy: "try again in a moment"}})
}
