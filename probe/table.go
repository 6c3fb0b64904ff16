package probe

import (
	"maps"

	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/protocol/browser"
	"github.com/atoll-mesh/atoll/probe/protocol/names"
	"github.com/atoll-mesh/atoll/probe/protocol/path"
	"github.com/atoll-mesh/atoll/probe/protocol/talk"
	"github.com/atoll-mesh/atoll/probe/protocol/web"
)

// table has the prober of each name that a module can give.
func table(way *path.Path) map[string]protocol.Func {
	all := map[string]protocol.Func{}
	for _, some := range []map[string]protocol.Func{web.Table(), names.Table(), talk.Table(), way.Table(), browser.New(0).Table()} {
		maps.Copy(all, some)
	}
	return all
}
