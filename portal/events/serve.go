package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Path is where the stream is served.
const Path = "/api/atoll/v1/events"

const (
	// beat is how often a stream says that it lives.
	beat = 15 * time.Second
	// patience is how long a browser may take to read what was written.
	patience = 10 * time.Second
	// again is after what time a browser comes back, in milliseconds.
	again = 2000
)

type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Remedy  string `json:"remedy"`
}

func refuse(w http.ResponseWriter, status int, r refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(r) // the client went away
}

// ServeHTTP streams ?topics=alerts,peers,…; all of them without being told. A browser
// that comes back with Last-Event-ID goes on where it was. One that is too slow is
// told by a lag event how many it missed, and has to come back.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	topics, err := readTopics(r.URL.Query().Get("topics"))
	if err != nil {
		refuse(w, http.StatusBadRequest, refusal{Code: "bad_request", Field: "topics", Message: err.Error(), Remedy: "Use some of " + topicNames() + "."})
		return
	}
	last, ok := h.enter()
	if !ok {
		h.metrics.refused.Inc()
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, refusal{
			Code: "too_many_streams", Message: fmt.Sprintf("events: %d browsers look already, or the island is stopping", h.maxClients),
			Remedy: "Close other tabs of the portal, or try again later.",
		})
		return
	}
	defer h.leave()
	s := stream{hub: h, w: w, control: http.NewResponseController(w), topics: topics, last: last}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // a proxy that gathers would hold events back
	w.WriteHeader(http.StatusOK)
	s.run(r.Header.Get("Last-Event-ID"), r.Context().Done())
}

func readTopics(text string) ([]Topic, error) {
	if text == "" {
		return Topics(), nil
	}
	var out []Topic
	for name := range strings.SplitSeq(text, ",") {
		t := Topic(strings.TrimSpace(name))
		if !slices.Contains(Topics(), t) {
			return nil, fmt.Errorf("topics: there is no topic %.40q", string(t))
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

func topicNames() string {
	var names []string
	for _, t := range Topics() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// stream is what one browser reads.
type stream struct {
	hub     *Hub
	w       io.Writer
	control *http.ResponseController
	topics  []Topic
	last    uint64 // number of the newest event that it was told or need not be
}

// lag is the data of a lag event: how many events there were that it is not told of.
// Missed is 0 where that is not known.
type lag struct {
	Missed uint64    `json:"missed"`
	At     time.Time `json:"at"`
}

func (s *stream) run(came string, gone <-chan struct{}) {
	if s.say("retry: %d\n\n", again) != nil {
		return
	}
	if came != "" {
		if number, ok := s.hub.place(came); ok {
			s.last = number
		} else if s.sayLag(0) != nil { // of another life of this island
			return
		}
	}
	first := true
	heart := time.NewTicker(beat)
	defer heart.Stop()
	for {
		e, number, missed, news, closed := s.hub.after(s.last, s.topics)
		if closed {
			return
		}
		if missed > 0 {
			s.hub.metrics.missed.Add(float64(missed))
			if s.last = number - 1; news != nil {
				s.last = number
			}
			if s.sayLag(missed) != nil || !first {
				if !first {
					s.hub.metrics.dropped.Inc()
				}
				return
			}
		}
		first = false
		if news == nil {
			if s.tell(e, number) != nil {
				return
			}
			continue
		}
		s.last = number
		select {
		case <-gone:
			return
		case <-news:
		case <-heart.C:
			if s.say(": alive\n\n") != nil {
				return
			}
		}
	}
}

func (s *stream) tell(e Event, number uint64) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	s.last = number
	s.hub.metrics.sent.Inc()
	return s.say("id: %s\nevent: %s\ndata: %s\n\n", s.hub.name(number), e.Topic, text)
}

// sayLag has no ID beside that of the last event that is behind the gap, so that the
// browser goes on from there.
func (s *stream) sayLag(missed uint64) error {
	text, err := json.Marshal(lag{Missed: missed, At: time.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	return s.say("id: %s\nevent: lag\ndata: %s\n\n", s.hub.name(s.last), text)
}

// say writes through to the browser, or fails where that takes too long.
func (s *stream) say(format string, args ...any) error {
	// Tests and some wrappers have no deadline to set; the write itself tells then.
	_ = s.control.SetWriteDeadline(time.Now().Add(patience))
	_, err := fmt.Fprintf(s.w, format, args...)
	if err == nil {
		err = s.control.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.hub.metrics.dropped.Inc()
	}
	return err
}
