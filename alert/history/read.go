package history

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Bounds of one question.
const (
	MaxLimit = 1000
	// maxScanned is how many events one question looks at; a page that ends there
	// says where to go on.
	maxScanned = 200_000
)

// Ask says which events are wanted.
type Ask struct {
	// From and To bound the time, both included.
	From, To time.Time
	// Alertname and Fingerprint are exact, Text is found in any word; "" is any.
	Alertname, Fingerprint, Text string
	// Kinds are those wanted; none is all.
	Kinds []Kind
	Limit int
	// Cursor is Page.Next of the page before.
	Cursor string
}

// Page is some of what was asked for, the newest first.
type Page struct {
	Items []Event `json:"items"`
	// Next asks for what is older; "" is the end.
	Next string `json:"next,omitempty"`
}

// ErrCursor is a cursor that no page had.
var ErrCursor = errors.New("the cursor is not one that a page of this history gave")

func (a Ask) start() ([]byte, error) {
	if a.Cursor == "" {
		return eventKey(a.To.Add(1), 0), nil
	}
	k, err := base64.RawURLEncoding.DecodeString(a.Cursor)
	if err != nil || len(k) != keySize {
		return nil, ErrCursor
	}
	return k, nil
}

func (a Ask) wants(e *Event) bool {
	return (a.Alertname == "" || e.Alertname == a.Alertname) &&
		(a.Fingerprint == "" || e.Fingerprint == a.Fingerprint) &&
		(len(a.Kinds) == 0 || slices.Contains(a.Kinds, e.Kind)) &&
		(a.Text == "" || e.mentions(a.Text))
}

// Query returns a page of events.
func (s *Store) Query(a Ask) (Page, error) {
	page := Page{Items: []Event{}}
	before, err := a.start()
	if err != nil {
		return page, err
	}
	a.Text = strings.ToLower(a.Text)
	a.Limit = min(max(a.Limit, 1), MaxLimit)
	least := eventKey(a.From, 0)
	err = s.view(func(tx *bbolt.Tx) error {
		cur := tx.Bucket(s.b.events).Cursor()
		k, v := cur.Seek(before)
		if k == nil {
			k, v = cur.Last()
		}
		if k != nil && bytes.Compare(k, before) >= 0 {
			k, v = cur.Prev()
		}
		scanned := 0
		for ; k != nil && bytes.Compare(k, least) >= 0; k, v = cur.Prev() {
			if scanned++; scanned > maxScanned || len(page.Items) == a.Limit {
				// What is before the successor of k is k itself and what is older.
				page.Next = base64.RawURLEncoding.EncodeToString(successor(k))
				return nil
			}
			var e Event
			if json.Unmarshal(v, &e) == nil && a.wants(&e) {
				page.Items = append(page.Items, e)
			}
		}
		return nil
	})
	return page, err
}

func successor(k []byte) []byte {
	next := bytes.Clone(k)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			break
		}
	}
	return next
}

// Incident is one alert from when it fired until it was resolved.
type Incident struct {
	Alertname   string            `json:"alertname"`
	Severity    string            `json:"severity,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	From        time.Time         `json:"from"`
	// To is zero while it fires.
	To time.Time `json:"to,omitzero"`
}

// told counts the notifications about alerts of a name.
type told struct{ notified, failed int }

// incidents lists what fired at some moment from a to b, and counts notifications.
// partial is set where there was more than one question may look at.
func (s *Store) incidents(from, to time.Time) (all []Incident, news map[string]told, partial bool, err error) {
	news = map[string]told{}
	open, err := s.Opened()
	if err != nil {
		return nil, nil, false, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		cur := tx.Bucket(s.b.events).Cursor()
		scanned := 0
		for k, v := cur.Seek(eventKey(from, 0)); k != nil; k, v = cur.Next() {
			if scanned++; scanned > maxScanned {
				partial = true
				return nil
			}
			var e Event
			if err := json.Unmarshal(v, &e); err != nil {
				continue
			}
			n := news[e.Alertname]
			switch {
			case e.Kind == Resolved && !e.StartedAt.After(to):
				all = append(all, Incident{e.Alertname, e.Severity, e.Labels, e.Fingerprint, e.StartedAt, e.At})
			case e.Kind == Notified && !e.At.After(to):
				n.notified++
			case e.Kind == Failed && !e.At.After(to):
				n.failed++
			}
			if n != (told{}) {
				news[e.Alertname] = n
			}
		}
		return nil
	})
	for _, o := range open {
		if !o.StartedAt.After(to) {
			all = append(all, Incident{o.Alertname, o.Severity, o.Labels, o.Fingerprint, o.StartedAt, time.Time{}})
		}
	}
	return all, news, partial, err
}

// within is the part of the incident between two times.
func (i Incident) within(from, to time.Time) (a, b time.Time) {
	a, b = i.From, i.To
	if a.Before(from) {
		a = from
	}
	if b.IsZero() || b.After(to) {
		b = to
	}
	return a, b
}

// Check refuses a span of time that makes no sense.
func Check(from, to time.Time) error {
	if to.Before(from) {
		return fmt.Errorf("to (%s) is before from (%s)", to.Format(time.RFC3339), from.Format(time.RFC3339))
	}
	return nil
}
