package collect

import (
	"log/slog"

	"k8s.io/klog/v2"
)

// RouteKubernetesLog sends what the Kubernetes client library logs to logger.
// The library has one log for the whole process, on stderr in a format of its
// own unless told otherwise; so this is for a program's main to call, once,
// and not for a Collector.
func RouteKubernetesLog(logger *slog.Logger) {
	klog.SetSlogLogger(logger.With("part", "kubernetes"))
}
