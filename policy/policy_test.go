package policy

import (
	"errors"
	"os"
	"strings"
	"testing"
)

const peer = "12D3KooWGzBhEmMXaJfL1EcVNqAxbP2yGvCyMuZyJ2kG7vZ8rWqT"

func parse(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Parse("policy/main", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func as(role string) Principal {
	return Principal{ID: peer, Name: "oslo", Role: role, Labels: map[string]string{"region": "eu"}}
}

func document(name string) Resource { return Resource{Kind: Document, Name: name} }

func TestDefault(t *testing.T) {
	s := parse(t, string(Default()))
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	other := Resource{Kind: Island, Name: peer}
	service := Resource{Kind: Service, Name: "/atoll.mesh.v1.Witness/Look"}
	for _, tc := range []struct {
		action Action
		what   Resource
		may    string // roles, sorted as below
	}{
		{Read, document("rules/a"), "admin island observer"},
		{Read, document("probe/a"), "admin island vantage observer"},
		{Read, other, "admin island observer"},
		{Read, service, "admin island observer"},
		{Write, document("rules/a"), "admin island"},
		{Write, document("scrape/a"), "admin island"},
		{Write, document("probe/a"), "admin island"},
		{Write, document("silence/a"), "admin island"},
		{Write, document("owner/a"), "admin island"},
		{Write, document("statement/a"), "admin island"},
		{Write, document("dashboard/a"), "admin island"},
		{Write, document("policy/main"), "admin"},
		{Write, document("unheard-of/a"), "admin"},
		{Write, other, "admin"},
		{Administer, other, "admin"},
		{Administer, service, "admin"},
		{Probe, other, "admin island vantage"},
		{Relay, other, "admin island"},
		{Action("unheard-of"), other, "admin"},
	} {
		var may []string
		for _, role := range []string{"admin", "island", "vantage", "observer", "", "root"} {
			d := s.Authorize(as(role), tc.action, tc.what)
			if d.Allowed {
				may = append(may, role)
			}
			if len(d.Errors) > 0 {
				t.Errorf("%s %s %v: errors %q", role, tc.action, tc.what, d.Errors)
			}
		}
		if got := strings.Join(may, " "); got != tc.may {
			t.Errorf("%s %s %s: %q may, want %q", tc.action, tc.what.Kind, tc.what.Name, got, tc.may)
		}
	}
}

func TestDefaultReasons(t *testing.T) {
	s := parse(t, string(Default()))
	for _, tc := range []struct {
		role   string
		action Action
		want   string
	}{
		{"island", Write, `permitted by policy "islands write" (policy/main:`},
		{"observer", Write, "no policy permits oslo (observer) to write document rules/a"},
	} {
		if got := s.Authorize(as(tc.role), tc.action, document("rules/a")).Reason; !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: reason %q, want %q", tc.role, got, tc.want)
		}
	}
}

func TestLabels(t *testing.T) {
	text, err := os.ReadFile("testdata/regions.cedar")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(text))
	if w := s.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	with := func(labels map[string]string) Principal {
		return Principal{ID: peer, Name: "oslo", Role: "island", Labels: labels}
	}
	island := func(labels ...string) Resource {
		r := Resource{Kind: Island, Name: "12D3KooWother", Attributes: map[string]string{"name": "lima", "role": "island"}}
		for i := 0; i < len(labels); i += 2 {
			r.Attributes["labels."+labels[i]] = labels[i+1]
		}
		return r
	}
	eu := map[string]string{"region": "eu"}
	for _, tc := range []struct {
		name   string
		who    Principal
		action Action
		what   Resource
		want   string
	}{
		{"own region", with(eu), Write, document("rules/eu-latency"), `permitted by policy "eu writes its rules" (policy/main:4)`},
		{"foreign rules", with(eu), Write, document("rules/us-latency"), "no policy permits oslo (island) to write document rules/us-latency"},
		{"foreign region", with(map[string]string{"region": "us"}), Write, document("rules/eu-latency"), "no policy permits oslo (island) to write document rules/eu-latency"},
		{"no label", with(nil), Write, document("rules/eu-latency"), "no policy permits oslo (island) to write document rules/eu-latency"},
		{"forbid beats permit", with(map[string]string{"region": "eu", "stage": "test"}), Write, document("rules/eu-latency"), `forbidden by policy "test islands keep quiet" (policy/main:11)`},
		{"an admin is forbidden too", Principal{ID: peer, Name: "oslo", Role: "admin", Labels: map[string]string{"stage": "test"}}, Write, document("owner/x"), `forbidden by policy "test islands keep quiet" (policy/main:11)`},
		{"unnamed policy", with(eu), Read, document("rules/x"), `permitted by policy "#4" (policy/main:19)`},
		{"label of the resource", with(eu), Probe, island("region", "eu"), `permitted by policy "same region probes" (policy/main:22)`},
		{"label of the resource, foreign", with(eu), Probe, island("region", "us"), "no policy permits oslo (island) to probe island 12D3KooWother"},
		{"resource without label", with(eu), Probe, island(), "no policy permits oslo (island) to probe island 12D3KooWother"},
		{"own statement", with(eu), Write, document("statement/" + peer), `permitted by policy "own statements" (policy/main:31)`},
		{"other's statement", with(eu), Write, document("statement/12D3KooWother"), "no policy permits oslo (island) to write document statement/12D3KooWother"},
	} {
		d := s.Authorize(tc.who, tc.action, tc.what)
		if d.Reason != tc.want || d.Allowed != strings.HasPrefix(tc.want, "permitted") || len(d.Errors) > 0 {
			t.Errorf("%s: %+v, want %s", tc.name, d, tc.want)
		}
	}
}

func TestSeveralReasonsComeInOrder(t *testing.T) {
	s := parse(t, `@id("z") permit (principal, action, resource); @id("a") permit (principal, action, resource);`)
	want := `permitted by policy "z" (policy/main:1), policy "a" (policy/main:1)`
	for range 20 {
		if got := s.Authorize(as("island"), Read, document("a/b")).Reason; got != want {
			t.Fatalf("reason %q, want %q", got, want)
		}
	}
}

func TestUnknownResource(t *testing.T) {
	s := parse(t, "permit (principal, action, resource);")
	for _, r := range []Resource{{}, {Kind: "Document", Name: "a/b"}, {Kind: Document, Name: "rules"}} {
		if d := s.Authorize(as("admin"), Read, r); d.Allowed || d.Reason == "" {
			t.Errorf("%+v: %+v, want a refusal with a reason", r, d)
		}
	}
}

// TestErrorsAreNamed uses the one fault that no check can foresee: a sum that
// does not fit.
func TestErrorsAreNamed(t *testing.T) {
	s := parse(t, `permit (principal in Role::"admin", action, resource);
@id("sum") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`)
	d := s.Authorize(as("admin"), Read, document("a/b"))
	if !d.Allowed || len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], `policy "sum" (policy/main:2): `) {
		t.Errorf("got %+v, want it allowed, with the error of policy sum", d)
	}
}

func TestWarnings(t *testing.T) {
	s := parse(t, `permit (principal in Role::"island", action, resource is Document)
when { ["rules", "sillence"].contains(resource.kind) || resource.kind == "probes" };
forbid (principal, action, resource == Document::"rule/x");`)
	got := strings.Join(s.Warnings(), "\n")
	for _, want := range []string{
		`policy/main:2:18: no kind of document is called "sillence"`,
		`policy/main:2:74: no kind of document is called "probes"`,
		`policy/main:3:40: no kind of document is called "rule"`,
		"policy/main:1:1: admins may not administer islands: no policy permits",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning %q in\n%s", want, got)
		}
	}
}

func TestEmptyRefusesAll(t *testing.T) {
	s := parse(t, "// nothing\n")
	if d := s.Authorize(as("admin"), Read, document("a/b")); d.Allowed {
		t.Errorf("got %+v, want a refusal", d)
	}
}

func TestLimits(t *testing.T) {
	var labels strings.Builder
	labels.WriteString("permit (principal, action, resource) when { true")
	for i := range maxLabels + 1 {
		labels.WriteString(" && principal.labels has l" + strings.Repeat("x", i))
	}
	labels.WriteString(" };")
	for _, tc := range []struct{ name, text, want string }{
		{"bytes", strings.Repeat(" ", maxText+1), "at most 65536 are read"},
		{"policies", strings.Repeat("permit(principal,action,resource);", maxPolicies+1), "more than 500 policies"},
		{"labels", labels.String(), "mention 101 labels; at most 100"},
		{"brackets", strings.Repeat("[", maxText), "more than 64 brackets"},
		{"signs", "permit (principal, action, resource) when { " + strings.Repeat("!", 65) + "true };", "or signs"},
	} {
		if _, err := Parse("p", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	// Within the limits, deep and wide texts are no trouble.
	for name, text := range map[string]string{
		"or":   "permit (principal, action, resource) when { true" + strings.Repeat(" || true", 7000) + " };",
		"if":   "permit (principal, action, resource) when { " + strings.Repeat("if true then true else ", 2500) + "true };",
		"many": strings.Repeat("permit(principal,action,resource);", maxPolicies),
	} {
		t.Run(name, func(t *testing.T) { parse(t, text).Authorize(as("island"), Read, document("a/b")) })
	}
}

func FuzzParse(f *testing.F) {
	f.Add(defaultText)
	f.Add(`permit (principal, action, resource) when { principal.labels["a b"] like "x*" };`)
	f.Add("forbid (principal is Island in Role::\"admin\", action in [], resource) unless { resource has kind };")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("p", []byte(text))
		if err != nil {
			n := strings.Count(text, "\n") + 1
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v, want an *Error", err, err)
			}
			for _, p := range e.Problems {
				if p.Line < 1 || p.Line > n || p.Column < 1 || p.Text == "" {
					t.Errorf("problem out of the text: %+v", p)
				}
			}
			return
		}
		for _, r := range []Resource{document("rules/x"), {Kind: Island, Name: peer}, {Kind: Service, Name: "x"}} {
			d := s.Authorize(as("island"), Write, r)
			if d.Reason == "" {
				t.Errorf("no reason for %+v", d)
			}
			for _, e := range d.Errors {
				if !strings.Contains(e, "overflow") {
					t.Errorf("checked text fails when evaluated: %s", e)
				}
			}
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	s := parse(b, defaultText)
	who, what := as("island"), document("rules/eu-latency")
	b.ReportAllocs()
	for b.Loop() {
		if !s.Authorize(who, Write, what).Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		parse(b, defaultText)
	}
}
