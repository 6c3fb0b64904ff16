package mesh

import (
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// silent is a policy under which islands may still say how each other are, but
// write nothing else.
const silent = `permit (principal in Role::"admin", action, resource);
permit (principal in Role::"island", action in [Action::"read", Action::"probe", Action::"relay"], resource);
permit (principal in Role::"island", action == Action::"write", resource is Document) when { resource.kind == "statement" };
`

// TestPolicy changes who may do what: on an island with a signer key, in force on
// all within seconds, and refused where it comes from others or makes no sense.
func TestPolicy(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	admin, b, c := newSite(t, l.Public("admin", link), "eu"), newSite(t, l.Public("b", link), "us"), newSite(t, l.Public("c", link), "us")
	allUp(admin, b, c)
	found(t, admin, b)
	c.join(admin.invite("us", "--role", "observer"))
	meshed(t, admin, b, c)

	b.set("owner/shop", "team: before\n")
	if out, err := c.atollWith("team: c\n", "set", "owner/shop", "-f", "-"); err == nil {
		t.Errorf("an observer wrote: %s", out)
	}
	if out, err := b.atollWith(silent, "set", "policy/main", "-f", "-"); err == nil {
		t.Errorf("an island without a signer key changed the policy: %s", out)
	}
	if err := refusedWithLine(admin.atollWith(silent+"permit (principal", "set", "policy/main", "-f", "-")); err != nil {
		t.Errorf("a policy that makes no sense %v", err)
	}

	admin.set("policy/main", silent)
	alike(t, 10*time.Second, admin, b, c)
	switch out, err := b.atollWith("team: after\n", "set", "owner/shop", "-f", "-"); {
	case err == nil:
		t.Errorf("the policy forbids it, and still it was written: %s", out)
	case !strings.Contains(err.Error(), "may not") && !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "permit"):
		t.Errorf("the refusal does not say that rights are missing: %v", err)
	}
	eventually(t, 10*time.Second, "what b had the right to write before is void", func() error { return holds(admin, "owner/shop", "") })

	admin.must("set", "policy/main", "--delete")
	alike(t, 10*time.Second, admin, b, c)
	b.set("owner/shop", "team: again\n")
	eventually(t, 10*time.Second, "b may write again", func() error { return holds(admin, "owner/shop", "team: again\n") })
}
