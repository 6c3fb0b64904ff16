package mesh

import (
	"bytes"
	"context"
	bits "encoding/binary"
	"fmt"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mss "github.com/multiformats/go-multistream"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

const helloProtocol = protocol.ID("/atoll/hello/1")

// framesPerSecond bring some 3,000 messages a second: 15 times what an island looks
// at from one neighbour.
const framesPerSecond = 200

// chatter floods with gossip, as a member by key and certificate that is no island:
// messages signed as they should be, signed wrongly, by others, garbage, frames that
// announce more than may be, and control messages.
func (a attack) chatter(t *testing.T, got *loot) {
	h := a.host(t)
	certificate := &trustpb.Certificate{}
	if err := proto.Unmarshal(a.Certificate, certificate); err != nil {
		t.Fatal(err)
	}
	hello := &meshpb.Hello{Certificate: certificate, Version: wire.Version, Oldest: wire.Oldest, Software: "traitor", TimeMs: time.Now().UnixMilli()}
	h.SetStreamHandler(helloProtocol, func(s network.Stream) {
		defer s.Close()
		var theirs meshpb.Hello
		if frame.Read(s, 64<<10, &theirs) == nil {
			_ = frame.Write(s, 64<<10, hello)
		}
	})
	// The target's own words are read and dropped.
	h.SetStreamHandler(pubsub.GossipSubID_v11, func(s network.Stream) {
		buf := make([]byte, 64<<10)
		for {
			if _, err := s.Read(buf); err != nil {
				return
			}
		}
	})
	to := a.addresses(t)["tcp"]
	if err := greet(t.Context(), h, to, hello); err != nil {
		t.Fatalf("say hello as a member: %v", err)
	}
	f := flooder{key: h.Peerstore().PrivKey(h.ID()), self: h.ID(), other: to.ID, topic: "/atoll/" + a.Network[:8] + "/changes/1"}
	end := time.Now().Add(a.Chatter)
	tick := time.NewTicker(time.Second / framesPerSecond)
	defer tick.Stop()
	var s network.Stream
	for time.Now().Before(end) {
		<-tick.C
		if s == nil {
			var err error
			if s, err = gossipStream(h, to); err != nil {
				got.Refused++
				s = nil
				continue
			}
		}
		raw, messages := f.next()
		_ = s.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := s.Write(raw); err != nil {
			got.Resets++
			_ = s.Reset()
			s = nil
			continue
		}
		got.Flooded += messages
		got.Bytes += int64(len(raw))
	}
	got.Open = len(h.Network().ConnsToPeer(to.ID))
}

// greet connects and says what makes a peer a member.
func greet(ctx context.Context, h host.Host, to peer.AddrInfo, hello *meshpb.Hello) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := h.Connect(ctx, to); err != nil {
		return err
	}
	s, err := h.Network().NewStream(ctx, to.ID)
	if err != nil {
		return err
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := mss.SelectOneOf([]protocol.ID{helloProtocol}, s); err != nil {
		return err
	}
	if err := frame.Write(s, 64<<10, hello); err != nil {
		return err
	}
	var answer meshpb.Hello
	if err := frame.Read(s, 64<<10, &answer); err != nil {
		return err
	}
	if no := answer.GetRefusal(); no != "" {
		return fmt.Errorf("refused: %s", no)
	}
	return nil
}

func gossipStream(h host.Host, to peer.AddrInfo) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, to.ID, pubsub.GossipSubID_v11)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// perFrame messages go in one frame.
const perFrame = 20

// flooder makes frames, one kind after the other.
type flooder struct {
	key         crypto.PrivKey
	self, other peer.ID
	topic       string
	n           int
	seqno       uint64
}

// next returns a frame with its length before it, and how many messages are in it.
func (f *flooder) next() ([]byte, int) {
	f.n++
	rpc := &pb.RPC{}
	// What ends the stream comes last: what follows at once is lost with it.
	switch f.n % 16 {
	case 15: // nonsense of a length that may be
		return delimited(nonsense(0)), 1
	case 14: // announces 64 MiB
		return append(bits.AppendUvarint(nil, 64<<20), nonsense(0)...), 1
	case 8: // one message over the limit of an announcement
		rpc.Publish = []*pb.Message{f.message(f.self, bytes.Repeat([]byte("x"), 32<<10), true)}
	case 10: // in another's name
		for range perFrame {
			rpc.Publish = append(rpc.Publish, f.message(f.other, nonsense(0), true))
		}
	case 11: // signed wrongly
		for range perFrame {
			rpc.Publish = append(rpc.Publish, f.message(f.self, nonsense(0), false))
		}
	case 9: // control messages about messages that do not exist
		ids := make([]string, 500)
		for i := range ids {
			f.seqno++
			ids[i] = fmt.Sprintf("%08d-no-such-message", f.seqno)
		}
		rpc.Control = &pb.ControlMessage{
			Ihave: []*pb.ControlIHave{{TopicID: &f.topic, MessageIDs: ids}},
			Iwant: []*pb.ControlIWant{{MessageIDs: ids}},
			Graft: []*pb.ControlGraft{{TopicID: &f.topic}}, Prune: []*pb.ControlPrune{{TopicID: &f.topic}},
		}
	default: // as they should be: only the number is wrong, and what they say
		for range perFrame {
			rpc.Publish = append(rpc.Publish, f.message(f.self, nonsense(0), true))
		}
	}
	raw, err := proto.Marshal(rpc)
	if err != nil {
		panic("BUG: a gossip message cannot be encoded: " + err.Error())
	}
	return delimited(raw), max(1, len(rpc.Publish))
}

func delimited(raw []byte) []byte { return append(bits.AppendUvarint(nil, uint64(len(raw))), raw...) }

// message is signed as libp2p's are, or almost.
func (f *flooder) message(from peer.ID, data []byte, genuine bool) *pb.Message {
	f.seqno++
	m := &pb.Message{From: []byte(from), Data: data, Seqno: bits.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano())+f.seqno), Topic: &f.topic}
	raw, err := proto.Marshal(m)
	if err == nil {
		m.Signature, err = f.key.Sign(append([]byte(pubsub.SignPrefix), raw...))
	}
	if err != nil {
		panic("BUG: a gossip message cannot be signed: " + err.Error())
	}
	if !genuine {
		m.Signature[7] ^= 1
	}
	return m
}
