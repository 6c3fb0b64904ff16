// Package enrol admits islands to a network, keeps their certificates fresh,
// replaces their keys and lets them go.
//
// In: invitations asked for by an operator, requests of guests and of members,
// the signed documents of the network through the few methods of Documents, the
// keys of this island through trust.Home. Out: documents of trust signed by the
// key that has the right, certificates, entries of the audit log, and health
// warnings while the island's own certificate is in danger.
//
// Who does what: Init makes a network. Authority is the side of an island that
// may hold a signer or root key. Server answers members over gRPC. Applicant is
// the guest's side of joining, Renewer and Rotation the member's.
//
// Guaranteed:
//   - An invitation is used at most as often as it says, however many guests
//     come at once; a guest that died in the middle and asks again with the same
//     node key gets the same membership and costs no second use.
//   - Nothing an answer claims is believed before it was checked against the
//     network's id, which the token carries.
//   - Each step that a kill -9 may cut short can be taken again: keys are on disk
//     before anybody hears of them, and an island is enrolled wholly or not at all.
//   - Each change has its entry in the audit log before it is made; where the
//     log cannot be written the change does not happen.
//   - Keys never leave the island that made them, but for the recovery key, which
//     is shown once, and the guest key inside a token.
//
// There is no libp2p in here: reaching other islands is handed in as a function.
package enrol
