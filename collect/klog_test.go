package collect

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

func TestRouteKubernetesLog(t *testing.T) {
	var b bytes.Buffer
	RouteKubernetesLog(slog.New(slog.NewTextHandler(&b, nil)))
	t.Cleanup(klog.ClearLogger)
	klog.ErrorS(nil, "watch failed", "reflector", "pods")
	if got := b.String(); !strings.Contains(got, `msg="watch failed" part=kubernetes reflector=pods`) {
		t.Errorf("got %q", got)
	}
}
