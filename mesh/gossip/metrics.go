package gossip

import (
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
)

type metrics struct {
	announced  prometheus.Counter
	delivered  prometheus.Counter
	duplicates prometheus.Counter
	dropped    *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	neighbours prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		announced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_mesh_gossip_announced_total", Help: "Announcements of this island that were sent."}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_mesh_gossip_delivered_total", Help: "Announcements of others that were heard."}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_mesh_gossip_duplicates_total", Help: "Announcements that came again over another neighbour."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_gossip_dropped_total",
			Help: "Announcements that went nowhere: stranger (neighbour or author is no member), author_rate, neighbour_rate, size, signature, send_queue (own, too many), receive_queue (handler too slow), peer_queue (neighbour too slow), other.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_gossip_bytes_total", Help: "Bytes of gossip frames, without the transport's own."}, []string{"direction"}),
		neighbours: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_mesh_gossip_neighbours", Help: "Neighbours that announcements are forwarded to at once."}),
	}
	for _, reason := range []string{"stranger", "author_rate", "neighbour_rate", "size", "signature", "send_queue", "receive_queue", "peer_queue", "other"} {
		m.dropped.WithLabelValues(reason)
	}
	if reg != nil {
		reg.MustRegister(m.announced, m.delivered, m.duplicates, m.dropped, m.bytes, m.neighbours)
	}
	return m
}

func (m *metrics) drop(reason string, n int) {
	m.dropped.WithLabelValues(reason).Add(float64(n))
}

// tracer counts what the router does. It is called from the router's own
// goroutine and must not block.
type tracer struct{ m *metrics }

func (tracer) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (tracer) OnClosedOutboundStream(peer.ID)                       {}
func (tracer) Join(string)                                          {}
func (tracer) Leave(string)                                         {}
func (t tracer) Graft(peer.ID, string)                              { t.m.neighbours.Inc() }
func (t tracer) Prune(peer.ID, string)                              { t.m.neighbours.Dec() }
func (tracer) ValidateMessage(*pubsub.Message)                      {}
func (tracer) DeliverMessage(*pubsub.Message)                       {}
func (tracer) ThrottlePeer(peer.ID)                                 {}
func (tracer) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
func (t tracer) DuplicateMessage(*pubsub.Message)                   { t.m.duplicates.Inc() }
func (t tracer) RecvRPC(rpc *pubsub.RPC) {
	t.m.bytes.WithLabelValues("in").Add(float64(proto.Size(&rpc.RPC)))
}
func (t tracer) SendRPC(rpc *pubsub.RPC, _ peer.ID) {
	t.m.bytes.WithLabelValues("out").Add(float64(proto.Size(&rpc.RPC)))
}
func (t tracer) DropRPC(rpc *pubsub.RPC, _ peer.ID)   { t.m.drop("peer_queue", len(rpc.GetPublish())) }
func (t tracer) UndeliverableMessage(*pubsub.Message) { t.m.drop("receive_queue", 1) }

// RejectMessage counts what the router itself refused; what this package's
// validator refused has been counted there.
func (t tracer) RejectMessage(_ *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationFailed, pubsub.RejectValidationIgnored:
	case pubsub.RejectMissingSignature, pubsub.RejectInvalidSignature, pubsub.RejectUnexpectedSignature:
		t.m.drop("signature", 1)
	default:
		t.m.drop("other", 1)
	}
}
