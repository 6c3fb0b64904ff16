package policy

import (
	"strings"
	"testing"
)

func TestUsers(t *testing.T) {
	s := ParseUsers()
	if !s.SpeaksOfUsers() || len(s.Warnings()) > 0 {
		t.Errorf("speaks of users: %v, warnings %q", s.SpeaksOfUsers(), s.Warnings())
	}
	if parse(t, string(Default())).SpeaksOfUsers() {
		t.Error("the policy of networks from before there were users speaks of them")
	}
	api := Resource{Kind: Service, Name: "/api/v1/query"}
	for _, tc := range []struct {
		action Action
		what   Resource
		may    string
	}{
		{Read, api, "admin operator viewer"},
		{Ingest, api, "admin operator"},
		{Silence, api, "admin operator"},
		{Acknowledge, api, "admin operator"},
		{Probe, api, "admin operator"},
		{Write, document("rules/a"), "admin operator"},
		{Write, document("dashboard/a"), "admin operator"},
		{Write, document("owner/a"), "admin operator"},
		{Write, document("policy/main"), "admin"},
		{Write, document("users/eve"), "admin"},
		{Write, document("scrape/a"), "admin"},
		{Write, api, "admin"},
		{Administer, api, "admin"},
		{Relay, api, "admin"},
	} {
		var may []string
		for _, role := range []string{"admin", "operator", "viewer", "island", "observer", ""} {
			if s.AuthorizeUser(User{Name: "ann", Roles: []string{role}}, tc.action, tc.what).Allowed {
				may = append(may, role)
			}
		}
		if got := strings.Join(may, " "); got != tc.may {
			t.Errorf("%s %s: %q may, want %q", tc.action, tc.what.Name, got, tc.may)
		}
	}
	both := User{Name: "ann", Roles: []string{"viewer", "operator"}}
	if d := s.AuthorizeUser(both, Probe, api); !d.Allowed || !strings.HasPrefix(d.Reason, `permitted by policy "operators operate"`) {
		t.Errorf("with two roles: %+v", d)
	}
	if d := s.AuthorizeUser(both, Administer, api); d.Reason != "no policy permits user ann (viewer, operator) to administer service /api/v1/query" {
		t.Errorf("reason %q", d.Reason)
	}
}

// TestPolicyOfUsers shows what makes a text speak of users, and that it is then
// checked against them too.
func TestPolicyOfUsers(t *testing.T) {
	for text, want := range map[string]bool{
		`permit (principal, action, resource);`:                                                       false,
		`permit (principal in Role::"admin", action, resource);`:                                      false,
		`permit (principal is User, action, resource);`:                                               true,
		`permit (principal == User::"ann", action, resource);`:                                        true,
		`permit (principal is User in Role::"admin", action, resource);`:                              true,
		`permit (principal in Role::"viewer", action, resource);`:                                     true,
		`permit (principal, action == Action::"silence", resource);`:                                  true,
		`permit (principal, action in [Action::"read", Action::"ingest"], resource);`:                 true,
		`forbid (principal, action, resource) when { principal is User && principal.name == "bob" };`: true,
		`forbid (principal, action, resource) unless { principal in Role::"operator" };`:              true,
	} {
		if got := parse(t, text).SpeaksOfUsers(); got != want {
			t.Errorf("%s: speaks of users %v, want %v", text, got, want)
		}
	}
	s := parse(t, `permit (principal in Role::"admin", action, resource);
@id("ann") permit (principal == User::"ann", action == Action::"write", resource is Document) when { resource.name like "eu-*" };`)
	for name, want := range map[string]bool{"rules/eu-x": true, "rules/us-x": false} {
		if got := s.AuthorizeUser(User{Name: "ann", Roles: []string{"viewer"}}, Write, document(name)).Allowed; got != want {
			t.Errorf("ann writes %s: %v, want %v", name, got, want)
		}
	}
	if s.Authorize(Principal{ID: "ann", Name: "ann", Role: "island"}, Write, document("rules/eu-x")).Allowed {
		t.Error("an island passes for a user of its name")
	}
	locked := parse(t, `permit (principal is Island in Role::"admin", action, resource); permit (principal in Role::"viewer", action == Action::"read", resource);`)
	if w := strings.Join(locked.Warnings(), "\n"); !strings.Contains(w, "users of role admin may not administer") {
		t.Errorf("warnings %q, want one that admins are locked out", w)
	}
}
