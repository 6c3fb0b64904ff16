package alert

import (
	"bytes"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// The snapshot of an unchanged log comes in another order each time, and must
// not be written each time; that of a changed one must be.
func TestUnorderedIdentifiesSnapshots(t *testing.T) {
	log, err := nflog.New(nflog.Options{Retention: time.Hour, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	add := func(group string) {
		if err := log.Log(&nflogpb.Receiver{GroupName: "r", Integration: "webhook"}, group, []uint64{1}, nil, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		add(g)
	}
	snapshot := func() []byte {
		var buf bytes.Buffer
		if _, err := log.Snapshot(&buf); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	first := snapshot()
	shuffled := false
	for range 50 {
		next := snapshot()
		shuffled = shuffled || !bytes.Equal(first, next)
		if !bytes.Equal(unordered(first), unordered(next)) {
			t.Fatal("an unchanged log has two identities")
		}
	}
	if !shuffled {
		t.Error("snapshots have an order now: unordered is not needed")
	}
	add("i")
	if bytes.Equal(unordered(first), unordered(snapshot())) {
		t.Error("a changed log has the old identity")
	}
	if garbage := []byte{0xff, 0xff}; !bytes.Equal(unordered(garbage), garbage) {
		t.Error("bytes that are no snapshot must identify themselves")
	}
}

func TestRevive(t *testing.T) {
	now := time.Now()
	until := now.Add(time.Minute)
	for name, c := range map[string]struct {
		saved savedAlert
		want  time.Time
	}{
		"fired, its time is over":      {savedAlert{Firing: true, EndsAt: now.Add(-time.Hour)}, until},
		"fired, lasts longer anyway":   {savedAlert{Firing: true, EndsAt: now.Add(time.Hour)}, now.Add(time.Hour)},
		"had ended when it was saved":  {savedAlert{EndsAt: now.Add(-time.Hour)}, now.Add(-time.Hour)},
		"had ended a moment before it": {savedAlert{EndsAt: now.Add(-time.Millisecond)}, now.Add(-time.Millisecond)},
	} {
		c.saved.Labels = model.LabelSet{"alertname": "A"}
		if got := c.saved.revive(now, until).EndsAt; !got.Equal(c.want) {
			t.Errorf("%s: ends at %v, want %v", name, got, c.want)
		}
	}
}
