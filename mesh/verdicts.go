package mesh

import (
	"sync"

	"github.com/atoll-mesh/atoll/trust"
)

// maxVerdicts bounds what is remembered; a peer cannot ask for more than the
// roster has members.
const maxVerdicts = 4096

// verdicts remembers what the policy said of pairs of members. That is a function
// of the state, which never changes, is asked for at every change of a connection,
// and each answer makes garbage of some kilobytes. The zero value is ready.
type verdicts struct {
	mu    sync.Mutex
	state *trust.State
	known map[[2]trust.Key]bool
}

// of returns what decide says, asking it once for each state and pair.
func (v *verdicts) of(state *trust.State, who, whom trust.Key, decide func() bool) bool {
	pair := [2]trust.Key{who, whom}
	v.mu.Lock()
	if v.state != state || len(v.known) >= maxVerdicts {
		v.state, v.known = state, map[[2]trust.Key]bool{}
	}
	yes, ok := v.known[pair]
	v.mu.Unlock()
	if ok {
		return yes
	}
	yes = decide()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.state == state {
		v.known[pair] = yes
	}
	return yes
}
