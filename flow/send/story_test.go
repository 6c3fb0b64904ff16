package send

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
)

// Whatever happens, in whatever order, the receiver ends up with exactly what is
// stored. Each seed is one story; a failure prints it.
func TestStories(t *testing.T) {
	for _, msg := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/%d", strings.TrimPrefix(string(msg), "io."), seed), func(t *testing.T) { tell(t, msg, seed) })
		}
	}
}

func tell(t *testing.T, msg remoteapi.WriteMessageType, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	r, i := newReceiver(t, nil), newIsland(t)
	cfg := remoteConfig(t, r.srv.URL, msg, nil)
	i.start(cfg)
	ts := hoursAgo(60)
	var story []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the story was: %s", strings.Join(story, ", "))
		}
	})
	for range 14 {
		ts = i.scrapes(30, 20+rnd.IntN(60), ts)
		step := []string{"down", "up", "silent", "restart", "kill", "hours", "compact", "compact"}[rnd.IntN(8)]
		story = append(story, step)
		switch step {
		case "down":
			r.answer(http.StatusInternalServerError)
		case "up":
			r.heal()
		case "silent":
			r.swallow()
		case "restart":
			i.restart(cfg)
		case "kill":
			i = i.killed(r)
			i.start(cfg)
		case "hours":
			ts = i.scrapes(30, 600, ts)
		case "compact":
			eventually(t, "the doomed WAL to be read", func() bool { return readTo(i) > doomedUpTo(walDir(i.dir())) })
			i.compact()
		}
	}
	r.heal()
	i.scrapes(30, 5, ts)
	i.same(r)
}
