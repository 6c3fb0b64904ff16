package asset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/assetpb"
)

// wired is a connection to an inventory on which messages are encoded as on the wire.
type wired struct {
	grpc.ClientConnInterface
	server assetpb.AssetsServer
}

// Invoke implements grpc.ClientConnInterface.
func (w wired) Invoke(ctx context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	text, err := proto.Marshal(args.(proto.Message))
	if err != nil {
		return err
	}
	in := new(assetpb.SearchRequest)
	if err := proto.Unmarshal(text, in); err != nil {
		return err
	}
	out, err := w.server.Search(ctx, in)
	if err != nil {
		return err
	}
	proto.Merge(reply.(proto.Message), out)
	return nil
}

func other(name string, v *Inventory) Other {
	return Other{Name: name, Ask: func(ctx context.Context, r Request) (Answer, error) {
		return Ask(ctx, wired{server: v.Server()}, r)
	}}
}

func TestEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rome := inventory(t, Options{Island: func() string { return "rome" }, Sources: []Source{source(
			Item{Kind: KindHost, Name: "web-2", Ref: "10.9.0.1:9100", State: "up", Summary: "Debian"}, Item{Kind: KindMetric, Name: "web_requests_total", Common: true, Summary: "theirs"},
			Item{Kind: KindMetric, Name: "web_errors_total", Common: true}, Item{Kind: KindDocument, Name: "rules/web", Common: true},
		)}})
		v := inventory(t, Options{
			Sources: []Source{source(Item{Kind: KindHost, Name: "web-1"}, Item{Kind: KindMetric, Name: "web_requests_total", Common: true, Summary: "ours"}, Item{Kind: KindDocument, Name: "rules/web", Common: true})},
			Others: func() []Other {
				return []Other{
					other("rome", rome),
					{Name: "slow", Ask: func(ctx context.Context, _ Request) (Answer, error) {
						<-ctx.Done()
						return Answer{}, ctx.Err()
					}},
					{Name: "broken", Ask: func(context.Context, Request) (Answer, error) { return Answer{}, errors.New("boom") }},
				}
			},
		})
		begin := time.Now()
		a, err := v.Everywhere(t.Context(), Request{Text: "web", Limit: 10})
		if err != nil || time.Since(begin) != otherTimeout {
			t.Fatalf("%v after %s, want to wait no longer than %s", err, time.Since(begin), otherTimeout)
		}
		got := map[string]string{}
		for _, f := range a.Items {
			got[f.Name] = strings.Join(append([]string{f.Island + ":"}, f.Islands...), " ") + " " + f.Summary
		}
		want := map[string]string{"web-1": "paris: ", "web-2": "rome: Debian", "web_requests_total": "paris: paris rome ours", "web_errors_total": "rome: ", "rules/web": "paris: paris rome "}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("found %q, want %q", got, want)
		}
		if fmt.Sprint(a.Counts) != "map[document:1 host:2 metric:2]" {
			t.Errorf("counts %v", a.Counts)
		}
		if fmt.Sprint(a.Islands) != "[{paris true } {rome true } {slow false context deadline exceeded} {broken false boom}]" {
			t.Errorf("islands %v", a.Islands)
		}
		for _, f := range a.Items {
			if f.Name == "web-2" && (f.Href != "/hosts/10.9.0.1:9100" || len(f.Match) != 1 || f.Match[0].Field != "name") {
				t.Errorf("from another island: %+v", f)
			}
		}
		if a, err := v.Everywhere(t.Context(), Request{Text: "web", Kinds: []Kind{KindMetric}, Limit: 1}); err != nil || len(a.Items) != 1 || a.Counts["metric"] != 2 || len(a.Counts) != 1 {
			t.Errorf("one metric: %+v, %v", a, err)
		}
	})
}

// TestStranger: what another island says cannot break the answer.
func TestStranger(t *testing.T) {
	long := strings.Repeat("x", 4*maxText)
	var labels []string
	for i := range 2 * MaxShown {
		labels = append(labels, fmt.Sprint(i), long)
	}
	a, err := readAnswer(&assetpb.SearchResponse{
		Counts:    map[string]uint32{"host": 3, "gremlin": 9},
		Resources: []*assetpb.Resource{{Kind: "gremlin"}, {Kind: "host", Name: long, Score: 1 << 31, Labels: append(labels, "odd"), Match: []string{"name"}}},
	}, 2)
	if err != nil || len(a.Items) != 1 || len(a.Counts) != 1 {
		t.Fatalf("read %+v, %v", a, err)
	}
	if f := a.Items[0]; len(f.Name) != maxText || len(f.Labels) != MaxShown || f.score != maxScore || len(f.Match) != 0 {
		t.Errorf("read %+v", f)
	}
	if _, err := readAnswer(&assetpb.SearchResponse{Resources: make([]*assetpb.Resource, 3)}, 2); err == nil {
		t.Error("more than was asked for is taken")
	}
}
