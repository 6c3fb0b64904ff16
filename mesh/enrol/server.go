package enrol

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Server answers members that want a certificate, want to change their node key,
// or pass on a guest. It is safe for concurrent use.
type Server struct {
	meshpb.UnimplementedMembershipServer

	authority *Authority
	caller    func(context.Context) (trust.Key, bool)
}

// NewServer serves a; caller gives the proven node key of who makes a call.
func NewServer(a *Authority, caller func(context.Context) (trust.Key, bool)) *Server {
	return &Server{authority: a, caller: caller}
}

// Renew gives the calling member a new certificate.
func (s *Server) Renew(ctx context.Context, _ *meshpb.RenewRequest) (*meshpb.RenewResponse, error) {
	who, ok := s.caller(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "renew certificate: the caller's key is not proven")
	}
	cert, err := s.authority.Renew(ctx, who)
	if err != nil {
		return nil, toStatus(err)
	}
	return &meshpb.RenewResponse{Certificate: cert}, nil
}

// Redeem answers a guest that knocked at another member. Only the island that
// made the invitation answers; it never passes the request on, so no request
// travels in circles.
func (s *Server) Redeem(ctx context.Context, req *meshpb.RedeemRequest) (*meshpb.JoinResponse, error) {
	who, ok := s.caller(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "redeem invitation: the caller's key is not proven")
	}
	if s.authority.opts.Trust().Standing(who) != trust.MemberStanding {
		return nil, status.Error(codes.PermissionDenied, "redeem invitation: only a member may pass on a guest")
	}
	guest, err := trust.KeyOf(req.GetGuestKey())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "redeem invitation: guest_key: %v", err)
	}
	res, err := s.authority.redeemHere(ctx, guest, req.GetRequest())
	if err != nil {
		return nil, toStatus(err)
	}
	return res, nil
}

// Rekey replaces the calling member's node key.
func (s *Server) Rekey(ctx context.Context, req *meshpb.RekeyRequest) (*meshpb.RekeyResponse, error) {
	who, ok := s.caller(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "replace node key: the caller's key is not proven")
	}
	cert, err := s.authority.Rekey(ctx, who, req)
	if err != nil {
		return nil, toStatus(err)
	}
	return &meshpb.RekeyResponse{Certificate: cert}, nil
}

func toStatus(err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, ErrNoSigner):
		code = codes.FailedPrecondition
	case errors.Is(err, ErrDenied):
		code = codes.PermissionDenied
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}
