package alert

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// An acknowledgement is a silence of exactly one alert whose comment begins with
// ackPrefix: it holds repetitions back on every island, is kept and shared as
// silences are, and is seen by everything that knows Alertmanager.
const ackPrefix = "ack:"

// Bounds of acknowledging.
const (
	maxAcked       = 500
	defaultAckTime = 12 * time.Hour
	maxAckTime     = 30 * 24 * time.Hour
	maxAckText     = 1024
	maxAckBy       = 200
)

// Ack is who took an alert.
type Ack struct {
	By      string    `json:"by"`
	Comment string    `json:"comment"`
	Until   time.Time `json:"until,omitzero"`
}

func isAck(comment string) bool { return strings.HasPrefix(comment, ackPrefix) }

func ackComment(comment string) string {
	return strings.TrimSpace(strings.TrimPrefix(comment, ackPrefix))
}

// exactly reports whether a silence is about the alert with these labels alone.
func exactly(s *silencepb.Silence, ls model.LabelSet) bool {
	if len(s.GetMatcherSets()) != 1 {
		return false
	}
	matchers := s.GetMatcherSets()[0].GetMatchers()
	if len(matchers) != len(ls) {
		return false
	}
	for _, m := range matchers {
		value, ok := ls[model.LabelName(m.GetName())]
		if !ok || m.GetType() != silencepb.Matcher_EQUAL || m.GetPattern() != string(value) {
			return false
		}
	}
	return true
}

// acksOf are the acknowledgements in force of one alert.
func (e *embedded) acksOf(ls model.LabelSet) (out []*silencepb.Silence) {
	ids := e.silencedBy(ls.Fingerprint(), ls)
	if len(ids) == 0 {
		return nil
	}
	held, _, err := e.silences.Query(context.Background(), silence.QIDs(ids...), silence.QState(silence.SilenceStateActive))
	if err != nil {
		e.logger.Error("looking for acknowledgements", "err", err)
	}
	return slices.DeleteFunc(held, func(s *silencepb.Silence) bool { return !isAck(s.GetComment()) || !exactly(s, ls) })
}

// endAcks ends what was acknowledged of an alert that is over.
func (e *embedded) endAcks(ls model.LabelSet) (ended int) {
	for _, s := range e.acksOf(ls) {
		if err := e.silences.Expire(context.Background(), s.GetId()); err != nil && !errors.Is(err, silence.ErrNotFound) {
			e.logger.Error("ending an acknowledgement", "silence", s.GetId(), "err", err)
			continue
		}
		ended++
	}
	return ended
}

// release ends the acknowledgements of those alerts of a flush that are over, so
// that receivers hear of the end. Those that another island tells of now are not.
func (e *embedded) release(alerts []*amalert.Alert) {
	now := time.Now()
	for _, a := range alerts {
		if a.ResolvedAt(now) && !e.common.withdrawnHere(a.Labels) {
			e.endAcks(a.Labels)
		}
	}
}

func (a Ack) complete(now time.Time) (Ack, error) {
	a.By, a.Comment = strings.TrimSpace(a.By), strings.TrimSpace(a.Comment)
	switch {
	case a.By == "":
		return a, &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "by", Message: "by is empty: it must say who took the alert", Remedy: "sign in, or send by"}
	case len(a.By) > maxAckBy:
		return a, &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "by", Message: fmt.Sprintf("by has %d bytes, at most %d", len(a.By), maxAckBy)}
	case len(a.Comment) > maxAckText:
		return a, &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "comment", Message: fmt.Sprintf("comment has %d bytes, at most %d", len(a.Comment), maxAckText)}
	case a.Until.IsZero():
		a.Until = now.Add(defaultAckTime)
	case !a.Until.After(now):
		return a, &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "until", Message: fmt.Sprintf("until is %s, which is past", a.Until.Format(time.RFC3339)), Remedy: "leave it out for 12 hours"}
	case a.Until.Sub(now) > maxAckTime:
		return a, &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "until", Message: fmt.Sprintf("until is %s, more than 30 days ahead", a.Until.Format(time.RFC3339)), Remedy: "acknowledge for less time, or silence"}
	}
	return a, nil
}

// acknowledge takes alerts: all of them or, on an error, none. Who took one before
// is replaced.
func (e *embedded) acknowledge(alerts []*amalert.Alert, ack Ack) error {
	if len(alerts) > maxAcked {
		return &apiError{
			Status: http.StatusRequestEntityTooLarge, Code: "too_many", Message: fmt.Sprintf("%d alerts at once, at most %d", len(alerts), maxAcked),
			Remedy: "silence them by what their labels have in common",
		}
	}
	var set, before []string
	for _, a := range alerts {
		for _, old := range e.acksOf(a.Labels) {
			before = append(before, old.GetId())
		}
		id, err := e.setAck(a.Labels, ack)
		if err != nil {
			e.expireAll(set)
			return &apiError{Status: http.StatusInsufficientStorage, Code: "refused", Message: "acknowledge: " + err.Error(), Remedy: "let old silences end, or raise alert.limits.silences"}
		}
		set = append(set, id)
	}
	e.expireAll(before)
	e.keepSilences()
	return nil
}

func (e *embedded) setAck(ls model.LabelSet, ack Ack) (string, error) {
	s := &silencepb.Silence{
		MatcherSets: []*silencepb.MatcherSet{{}}, CreatedBy: ack.By, Comment: strings.TrimSpace(ackPrefix + " " + ack.Comment),
		StartsAt: timestamppb.Now(), EndsAt: timestamppb.New(ack.Until),
	}
	for name, value := range ls {
		s.MatcherSets[0].Matchers = append(s.MatcherSets[0].Matchers, &silencepb.Matcher{Type: silencepb.Matcher_EQUAL, Name: string(name), Pattern: string(value)})
	}
	slices.SortFunc(s.MatcherSets[0].Matchers, func(a, b *silencepb.Matcher) int { return strings.Compare(a.GetName(), b.GetName()) })
	err := e.silences.Set(context.Background(), s)
	return s.GetId(), err
}

func (e *embedded) expireAll(ids []string) {
	for _, id := range ids {
		if err := e.silences.Expire(context.Background(), id); err != nil && !errors.Is(err, silence.ErrNotFound) {
			e.logger.Error("ending an acknowledgement", "silence", id, "err", err)
		}
	}
}

// keepSilences puts them on disk now, as serveKept does.
func (e *embedded) keepSilences() {
	if _, err := e.state.maintain(fileSilences, e.silences)(); err != nil {
		e.logger.Error("keeping a changed silence", "err", err)
	}
	e.observer.look()
}
