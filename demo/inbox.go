package demo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// inbox receives the island's notifications, as a chat or a pager would, and
// shows them in the terminal.
type inbox struct {
	*server
	screen *screen
}

// message is the part of an Alertmanager webhook that is shown.
type message struct {
	Alerts []struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		EndsAt      time.Time         `json:"endsAt"`
	} `json:"alerts"`
}

func openInbox(screen *screen, logger *slog.Logger) (*inbox, error) {
	in := &inbox{screen: screen}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", in.receive)
	srv, err := serve(mux, logger)
	if err != nil {
		return nil, fmt.Errorf("start the demo's inbox: %w", err)
	}
	in.server = srv
	return in, nil
}

func (in *inbox) receive(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, "not an Alertmanager webhook: "+err.Error(), http.StatusBadRequest)
		return
	}
	for _, a := range m.Alerts {
		text := a.Annotations["summary"]
		at := a.StartsAt
		if a.Status == "resolved" {
			at = a.EndsAt
			text = "over after " + a.EndsAt.Sub(a.StartsAt).Round(time.Second).String()
		}
		in.screen.print("%s  %-8s  %s  %s: %s", at.Local().Format(time.TimeOnly),
			strings.ToUpper(printable(a.Status)), printable(a.Labels["alertname"]), printable(cmp.Or(a.Labels["service"], a.Labels["instance"], a.Labels["job"])), printable(text))
	}
}

// printable keeps what came over the network from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
