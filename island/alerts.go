package island

import (
	"context"
	"errors"
	"net/http"

	"github.com/atoll-mesh/atoll/alert"
	common "github.com/atoll-mesh/atoll/alert/global"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/portal/access"
)

// boardRoutes are what people look at and decide about alerts and rules.
func boardRoutes(h http.Handler) map[string]http.Handler {
	out := map[string]http.Handler{}
	for _, pattern := range []string{
		"GET " + alert.BoardPath, "GET " + alert.BoardPath + "/history", "GET " + alert.BoardPath + "/timeline",
		"GET " + alert.BoardPath + "/statistics", "POST " + alert.AcknowledgePath, "DELETE " + alert.AcknowledgePath,
		"POST " + alert.PreviewPath, "POST " + alert.CheckPath,
	} {
		out[pattern] = h
	}
	return out
}

func (i *Island) board(r *rooms) http.Handler {
	return r.alert.Board(alert.BoardOptions{
		Check: func(kind string, text []byte) alert.Problems { return i.checkRules(r, kind, text) },
		Who: func(ctx context.Context) string {
			if p := access.From(ctx); p.Known() {
				return p.Name
			}
			return ""
		},
	})
}

// checkRules judges a document of rules as writing it does.
func (i *Island) checkRules(r *rooms, kind string, text []byte) alert.Problems {
	if kind == common.KindRules {
		_, err := alert.ParseGlobal("document", text, r.query.Parser())
		var found alert.Problems
		if err != nil && !errors.As(err, &found) {
			found = alert.Problems{{Message: err.Error()}}
		}
		return found
	}
	shared, err := config.ReadShared(config.SharedRules, config.SharedRules, text)
	if err == nil {
		return alert.CheckRules(kind, shared.Content, r.query.Parser()) // warnings alone are no error
	}
	var refused config.Errors
	if !errors.As(err, &refused) {
		return alert.Problems{{Message: err.Error()}}
	}
	found := make(alert.Problems, len(refused))
	for n, e := range refused {
		found[n] = alert.Problem{Line: e.Line, Column: e.Column, Message: e.Message, Warning: e.Warning}
	}
	return found
}
