package peer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// TestPromises asks an island that promises, changes its mind, and is silent: only
// what it promised last is known of it. It says all of it only if that is not known.
func TestPromises(t *testing.T) {
	eu := global.Promise{Number: 7, External: labels.FromStrings("region", "eu"), MinTime: 5}
	us := global.Promise{Number: 8, External: labels.FromStrings("region", "us")}
	var now *global.Promise
	var told []bool
	c := answering(t, func(_ context.Context, r *global.Request) (*global.Answer, error) {
		told = append(told, r.Tell)
		return &global.Answer{Promise: now}, nil
	}).Noting("key")
	for i, step := range []struct {
		promise *global.Promise
		tell    bool
		region  string
		minTime int64
	}{
		{nil, true, "", 0}, {&eu, true, "eu", 5}, {&eu, false, "eu", 5}, {&us, false, "", 0}, {&us, true, "us", 0}, {&us, false, "us", 0}, {nil, false, "", 0}, {nil, true, "", 0},
	} {
		now = step.promise
		if _, err := c.Answer(t.Context(), &global.Request{Options: global.EngineOptions{Lookback: 1}}); err != nil {
			t.Fatal(err)
		}
		f := c.codec.Facts("key", "isle")
		if told[i] != step.tell || f.Name != "isle" || f.External.Get("region") != step.region || f.MinTime != step.minTime {
			t.Errorf("question %d: told %t, facts %+v; want %+v", i, told[i], f, step)
		}
	}
	if f := c.codec.Facts("other", "isle"); !f.External.IsEmpty() {
		t.Errorf("another island is known by it: %+v", f)
	}
}

// TestPromisesEnd: a promise is used for less than its time, counted from the
// question, and is good again by its number alone.
func TestPromisesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Codec{promises: promises{by: map[string]promised{}}}
		known := func() bool { return !s.Facts("key", "isle").External.IsEmpty() }
		said := &querypb.Answer{Promise: 1, Promised: &querypb.Promise{Labels: []*querypb.Label{{Name: "region", Value: "eu"}}}}
		asked := time.Now()
		time.Sleep(global.PromiseTime / 2) // a slow answer
		s.promises.heard("key", asked, said)
		if !known() {
			t.Error("it is not known")
		}
		time.Sleep(global.PromiseTime / 4)
		if known() {
			t.Error("it is known for too long")
		}
		s.promises.heard("key", time.Now(), &querypb.Answer{Promise: 1})
		if !known() {
			t.Error("it is not known again")
		}
		s.promises.heard("key", time.Now(), &querypb.Answer{Promise: 2})
		if known() || s.promises.number("key") != 0 {
			t.Error("what it is now is not known")
		}
		said.Promised.Labels[0].Value = ""
		s.promises.heard("key", time.Now(), said)
		if known() {
			t.Error("what makes no sense is known")
		}
		s.promises.heard("key", time.Now().Add(time.Hour), &querypb.Answer{Promise: 1, Promised: &querypb.Promise{Labels: []*querypb.Label{{Name: "a", Value: "b"}}}})
		if known() { // as after a clock was set back
			t.Error("it was asked for in the future")
		}
	})
}
