package access

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
)

// Rule says what a route needs.
type Rule struct {
	// Action and the route's path are what the policy is asked about.
	Action policy.Action
	// Class opens the route to those who did not sign in, where that class is open.
	Class Class
	// Public routes ask nothing. Signed ones need somebody, whoever it is, and
	// judge by themselves.
	Public, Signed bool
	// Document takes the resource from the path, which ends in KIND/NAME.
	Document bool
	// Audit names the change in the audit log; "" writes nothing there.
	Audit string
}

const (
	apiPrefix = "/api/atoll/v1/"
	documents = apiPrefix + "documents/"
)

func open(class Class, action policy.Action) Rule { return Rule{Class: class, Action: action} }

func administer(audit string) Rule { return Rule{Action: policy.Administer, Audit: audit} }

// Rules is the table of what routes need, by pattern of http.ServeMux. Reading is
// the default below the API's prefixes, everything else that is fetched is the
// page; what changes something and is not named here is refused.
func Rules() map[string]Rule {
	reading := open(ClassRead, policy.Read)
	rules := map[string]Rule{
		"GET /":          {Public: true},
		"GET /api/":      reading,
		"GET /metrics":   reading,
		"GET /federate":  reading,
		"GET /debug/":    open(ClassOperate, policy.Administer),
		"POST /debug/":   open(ClassOperate, policy.Administer),
		"GET /probe":     open(ClassProbe, policy.Probe),
		"OPTIONS /api/":  {Public: true}, // asks what may be asked
		"OPTIONS /probe": {Public: true},

		"POST /api/v1/write":                  open(ClassIngest, policy.Ingest),
		"POST /api/v1/otlp/v1/metrics":        open(ClassIngest, policy.Ingest),
		"POST " + apiPrefix + "rules/preview": reading,
		"POST " + apiPrefix + "rules/check":   reading,

		"POST " + apiPrefix + "alerts/{target}/acknowledge":   {Action: policy.Acknowledge, Audit: "acknowledge"},
		"DELETE " + apiPrefix + "alerts/{target}/acknowledge": {Action: policy.Acknowledge, Audit: "acknowledge-end"},

		"POST /api/v2/alerts":              open(ClassIngest, policy.Ingest),
		"POST /api/v2/silences":            {Class: ClassSilence, Action: policy.Silence, Audit: "silence"},
		"DELETE /api/v2/silence/":          {Class: ClassSilence, Action: policy.Silence, Audit: "silence-end"},
		"GET /api/v1/probes/run":           open(ClassProbe, policy.Probe),
		"POST /api/v1/probes/run":          open(ClassProbe, policy.Probe),
		"POST " + apiPrefix + "mesh/ping":  reading,
		"GET " + apiPrefix + "mesh/audit":  open(ClassRead, policy.Administer),
		"GET " + apiPrefix + "mesh/trust":  administer(""),
		"GET " + apiPrefix + "audit":       administer(""),
		"POST " + apiPrefix + "mesh/trust": administer("trust-import"),

		"GET " + apiPrefix + "mesh/invitations": administer(""),

		"PUT " + documents:    {Action: policy.Write, Document: true, Audit: "document-write"},
		"DELETE " + documents: {Action: policy.Write, Document: true, Audit: "document-delete"},

		"GET " + apiPrefix + "session":    {Public: true},
		"POST " + apiPrefix + "session":   {Public: true},
		"DELETE " + apiPrefix + "session": {Public: true},
		"POST " + apiPrefix + "setup":     {Public: true},
		"GET " + apiPrefix + "oidc/":      {Public: true},
		"POST " + apiPrefix + "password":  {Signed: true, Audit: "password"},
		"GET " + apiPrefix + "users":      administer(""),
		"POST " + apiPrefix + "users":     administer(""),
		"GET " + apiPrefix + "users/":     administer(""),
		"PUT " + apiPrefix + "users/":     administer("user-change"),
		"DELETE " + apiPrefix + "users/":  administer("user-remove"),
		"GET " + apiPrefix + "tokens":     {Signed: true},
		"POST " + apiPrefix + "tokens":    {Signed: true},
		"DELETE " + apiPrefix + "tokens/": {Signed: true, Audit: "token-revoke"},
	}
	for _, name := range []string{"query", "query_range", "query_exemplars", "query_cost", "query_range_cost", "format_query",
		"parse_query", "labels", "series", "read", "search/"} {
		rules["POST /api/v1/"+name] = reading
	}
	for _, name := range []string{"init", "invite", "withdraw", "join", "leave", "revoke", "rotate", "signer", "promote"} {
		rules["POST "+apiPrefix+"mesh/"+name] = administer("mesh-" + name)
	}
	for _, method := range []string{"POST ", "PUT "} {
		rules[method+"/-/reload"] = Rule{Class: ClassOperate, Action: policy.Administer, Audit: "reload"}
		rules[method+"/-/quit"] = Rule{Class: ClassOperate, Action: policy.Administer, Audit: "quit"}
		rules[method+"/api/v1/admin/"] = Rule{Class: ClassOperate, Action: policy.Administer, Audit: "tsdb-admin"}
	}
	return rules
}

// ServeHTTP makes a Rule an http.Handler, so that http.ServeMux can find it by
// pattern; nobody calls it.
func (Rule) ServeHTTP(http.ResponseWriter, *http.Request) {}

// table finds the rule of a request.
type table struct{ mux *http.ServeMux }

func newTable(more map[string]Rule) (t table, err error) {
	t.mux = http.NewServeMux()
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("rules of access: %v", cause)
		}
	}()
	for _, rules := range []map[string]Rule{Rules(), more} {
		for pattern, r := range rules {
			t.mux.Handle(pattern, r)
		}
	}
	return t, nil
}

// find looks the decoded path up, which is what handlers go by, and says what the
// policy is asked about.
func (t table) find(r *http.Request) (rule Rule, what policy.Resource, ok bool) {
	clean := path.Clean("/" + r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") && clean != "/" {
		clean += "/"
	}
	plain := &http.Request{Method: r.Method, Host: "atoll", URL: &url.URL{Path: clean}}
	h, pattern := t.mux.Handler(plain)
	rule, ok = h.(Rule)
	if !ok {
		return Rule{}, policy.Resource{}, false
	}
	_, name, _ := strings.Cut(pattern, " ")
	what = policy.Resource{Kind: policy.Service, Name: name}
	if rule.Document {
		rule, what, ok = documentRule(rule, strings.TrimPrefix(clean, documents))
	}
	return rule, what, ok
}

// documentRule asks for more than the right to write where a document decides over
// rights.
func documentRule(rule Rule, key string) (Rule, policy.Resource, bool) {
	kind, _, err := trust.ParseDocumentKey(key)
	if err != nil {
		return Rule{}, policy.Resource{}, false
	}
	if trust.IsTrustKind(key) || slices.Contains([]string{trust.KindPrimary, KindUsers, KindTokens}, kind) {
		rule.Action = policy.Administer
	}
	return rule, policy.Resource{Kind: policy.Document, Name: key}, true
}

// changes reports whether a method may change something.
func changes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}
