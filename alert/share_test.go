package alert

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client/silence"
)

// TestSilencesAreShared sets a silence on one island, ends it on another, and
// has both agree each time.
func TestSilencesAreShared(t *testing.T) {
	a, b := newRig(t), addRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	var sharing sync.WaitGroup
	defer sharing.Wait()
	defer cancel()
	var mu sync.Mutex
	texts := map[string]string{} // as the documents would hold them
	for _, pair := range [][2]*rig{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		from.start(from.prom(""), nil)
		sharing.Go(func() {
			err := from.alert.ShareSilences(ctx, func(_ context.Context, id string, text []byte) error {
				mu.Lock()
				known := texts[id] == string(text)
				texts[id] = string(text)
				mu.Unlock()
				if known {
					return nil
				}
				_, err := to.alert.LearnSilence(text)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	posted, err := a.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(newSilence("host", "db1", time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	state := func(r *rig) string {
		got, err := r.api().Silence.GetSilences(nil)
		if err != nil || len(got.Payload) != 1 || *got.Payload[0].ID != posted.Payload.SilenceID {
			return ""
		}
		return *got.Payload[0].Status.State
	}
	eventually(t, "the silence holds on both", func() bool { return state(a) == "active" && state(b) == "active" })
	if _, err := b.api().Silence.DeleteSilence(silence.NewDeleteSilenceParams().WithSilenceID(strfmt.UUID(posted.Payload.SilenceID))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended on both", func() bool { return state(a) == "expired" && state(b) == "expired" })

	mu.Lock()
	text := texts[posted.Payload.SilenceID]
	mu.Unlock()
	if err := CheckSilence([]byte(text)); err != nil {
		t.Errorf("what was shared is refused: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"silence":{"id":"x"}}`, strings.Replace(text, `"id"`, `"ids"`, 1)} {
		if err := CheckSilence([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a silence", bad)
		}
	}
}

// TestOldSilence is not taken in: nobody needs to keep it.
func TestOldSilence(t *testing.T) {
	r := newRig(t)
	r.start(r.prom(""), nil)
	old := `{"silence":{"id":"6f0dbb6c-23a8-4d9c-a5ab-5d5bd9b0a1f0","matcherSets":[{"matchers":[{"name":"a","pattern":"b"}]}],` +
		`"startsAt":"2020-01-01T00:00:00Z","endsAt":"2020-01-02T00:00:00Z","updatedAt":"2020-01-01T00:00:00Z"},"expiresAt":"2020-01-07T00:00:00Z"}`
	if over, err := r.alert.LearnSilence([]byte(old)); err != nil || !over {
		t.Errorf("over %t, %v; want over", over, err)
	}
	if _, err := r.alert.LearnSilence([]byte("nonsense")); err == nil {
		t.Error("nonsense is taken for a silence")
	}
}
