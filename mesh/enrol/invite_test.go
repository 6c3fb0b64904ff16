package enrol

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestOpenInvites lists who can still come in, and withdraws in every way that
// an invitation can be meant.
func TestOpenInvites(t *testing.T) {
	w := newWorld(t)
	a := w.first().authority
	ids := map[string]string{}
	for name, o := range map[string]InviteOptions{
		"used":   {},
		"brief":  {Expires: time.Minute},
		"twice":  {Uses: 2},
		"lisbon": {Name: "lisbon"},
		"porto":  {Name: "porto"},
		"porto2": {Name: "porto"},
	} {
		token := w.invite(o)
		ids[name] = token.Guest().Public().String()
		if name == "used" || name == "twice" {
			w.join(w.first(), token, "by-"+name)
		}
	}
	w.pass(2 * time.Minute)
	open := func(want ...string) {
		t.Helper()
		var got []string
		for _, i := range a.OpenInvites() {
			got = append(got, i.Key.String())
		}
		for i, name := range want {
			want[i] = ids[name]
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("open are %v, want %v", got, want)
		}
	}
	open("twice", "lisbon", "porto", "porto2")
	id := ids["porto"]
	for which, want := range map[string]string{
		"porto":     "2 open invitations",
		"nobody":    "atoll invite --list",
		id[:10]:     "atoll invite --list",
		id[50:]:     "atoll invite --list",
		ids["used"]: "",
	} {
		if _, err := a.WithdrawInvite(t.Context(), which); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("withdraw %s: %v, want %q", which, err, want)
		}
	}
	for name, which := range map[string]string{"lisbon": "lisbon", "twice": ids["twice"], "porto": id[len(id)-8:]} {
		if inv, err := a.WithdrawInvite(t.Context(), which); err != nil || inv.Key.String() != ids[name] {
			t.Errorf("withdraw %s: %+v, %v", which, inv, err)
		}
	}
	open("porto2")
	if _, err := w.island("other").authority.WithdrawInvite(t.Context(), ids["porto2"]); err == nil || !strings.Contains(err.Error(), "no signer key") {
		t.Errorf("withdrawn where nobody may: %v", err)
	}
	if _, ok := w.docs.Trust().Member("by-twice"); !ok {
		t.Error("who came by the withdrawn invitation is gone")
	}
}
