// The repository's own .proto files, and what is signed in their messages.
import path from 'node:path'
import protobuf from 'protobufjs'
import { parse as parseYAML } from 'yaml'
import { concat, equal, networkOf, peerID, readUvarint, sha256, uint32, uint64, unbase32, uvarint, verifies } from './keys.mjs'

export const version = 20261122

/** Loads the messages below the folder wire. */
export function load (wire) {
  const root = new protobuf.Root()
  root.resolvePath = (_, target) => path.resolve(wire, target)
  root.loadSync(['meshpb/hello.proto', 'meshpb/join.proto', 'meshpb/services.proto', 'replicapb/replica.proto'])
  const type = name => {
    const t = root.lookupType(name)
    return {
      encode: fields => Buffer.from(t.encode(t.fromObject(fields)).finish()),
      // Absent fields have their defaults, 64-bit numbers are text, maps are plain objects.
      decode: bytes => t.toObject(t.decode(bytes), { defaults: true, longs: String, bytes: Buffer, objects: true, arrays: true, oneofs: true })
    }
  }
  return {
    Hello: type('atoll.mesh.v1.Hello'),
    JoinRequest: type('atoll.mesh.v1.JoinRequest'),
    JoinResponse: type('atoll.mesh.v1.JoinResponse'),
    RenewRequest: type('atoll.mesh.v1.RenewRequest'),
    RenewResponse: type('atoll.mesh.v1.RenewResponse'),
    RekeyRequest: type('atoll.mesh.v1.RekeyRequest'),
    RekeyResponse: type('atoll.mesh.v1.RekeyResponse'),
    CertificateBody: type('atoll.trust.v1.CertificateBody'),
    Token: type('atoll.trust.v1.Token'),
    SyncRequest: type('atoll.replica.v1.SyncRequest'),
    SyncResponse: type('atoll.replica.v1.SyncResponse'),
    Documents: type('atoll.replica.v1.Documents'),
    Hint: type('atoll.replica.v1.Hint')
  }
}

export function readToken (wire, line) {
  const text = line.replace(/\s/g, '').toLowerCase()
  if (!text.startsWith('atoll1')) throw new Error('token: must begin with atoll1')
  const raw = unbase32(text.slice('atoll1'.length))
  const [size, at] = readUvarint(raw)
  const end = at + size
  if (raw.length !== end + 4) throw new Error('token: cut short')
  const sum = sha256('atoll token\n', raw.subarray(0, end)).subarray(0, 4)
  if (!equal(sum, raw.subarray(end))) throw new Error('token: mistyped')
  return wire.Token.decode(raw.subarray(at, end))
}

export const documentMessage = d => concat(
  uvarint(Buffer.byteLength(d.key)), d.key, uint64(d.time), [d.deleted ? 1 : 0], sha256(d.value))

export const documentHolds = (network, d) =>
  verifies(d.author, 'atoll document 1', network, documentMessage(d), d.signature)

export function newDocument (network, author, key, value, time) {
  const d = { key, value: Buffer.from(value), time: String(time), deleted: false, author: author.public }
  d.signature = author.sign('atoll document 1', network, documentMessage(d))
  return d
}

/** Opens a certificate: its body, or an error. */
export function openCertificate (wire, network, c) {
  const body = wire.CertificateBody.decode(c.body)
  if (!equal(body.network, network)) throw new Error('certificate: of another network')
  if (!verifies(c.signer, 'atoll certificate 1', network, c.body, c.signature)) throw new Error('certificate: the signature does not hold')
  return body
}

const part = b => concat(uint32(Buffer.byteLength(b)), b)

export function joinMessage (guest, r) {
  const labels = Object.keys(r.labels).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  return concat(part(guest), part(r.nodeKey), part(r.signerKey), part(r.name), uint32(r.version),
    uint32(labels.length), ...labels.flatMap(k => [part(k), part(r.labels[k])]))
}

/** Signs a join request with the node key, the guest key and, for an admin, the signer key. */
export function proveJoin (network, guest, node, signer, r) {
  const message = joinMessage(guest.public, r)
  r.proof = concat(...[node, guest, signer].filter(k => k != null).map(k => k.sign('atoll join', network, message)))
  return r
}

const unbase58 = text => {
  const digits = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let n = 0n
  for (const c of text) n = n * 58n + BigInt(digits.indexOf(c))
  return Buffer.from(n.toString(16).padStart(76, '0'), 'hex') // 38 bytes
}

/** The key in a peer ID; of none, 32 zero bytes. */
export const keyOf = text => text ? unbase58(text).subarray(-32) : Buffer.alloc(32)

/** Unix nanoseconds of an RFC 3339 time in UTC, which Date would cut to milliseconds. */
function nanoseconds (text) {
  const [, seconds, fraction = ''] = /^(.*?)(?:\.(\d+))?Z$/.exec(text)
  return BigInt(Date.parse(seconds + 'Z')) * 1000000n + BigInt(fraction.padEnd(9, '0').slice(0, 9) || 0)
}

/** Proves a network document's chain of roots; returns the roots in force. */
export function proveChain (network, text) {
  const value = parseYAML(text, { schema: 'failsafe' }) // everything is text
  let before = null
  for (const e of value.chain) {
    const by = keyOf(e.signed_by)
    const roots = e.roots.map(keyOf)
    const allowed = before == null ? equal(networkOf(by), network) : [...before.roots, before.recovery].includes(e.signed_by)
    if (!allowed) throw new Error(`chain: ${e.signed_by} may not sign entry ${e.epoch}`)
    const message = concat(before == null ? Buffer.alloc(32) : sha256(Buffer.from(before.signature, 'base64')),
      uint64(e.epoch), uint64(nanoseconds(e.at)), uint64(roots.length), ...roots, keyOf(e.recovery), by)
    if (!verifies(by, 'atoll chain 1', network, message, Buffer.from(e.signature, 'base64'))) {
      throw new Error(`chain: the signature of entry ${e.epoch} does not hold`)
    }
    before = e
  }
  return { name: value.name, roots: before.roots }
}

export const yaml = text => parseYAML(text.toString(), { schema: 'failsafe' })

// What makes a network: digests keep these apart from all other documents.
const trustKinds = ['network', 'signer', 'member', 'revoked', 'left', 'invite', 'policy']
export const isTrust = d => trustKinds.includes(d.key.split('/')[0])

export const placeOf = d => sha256(d.key).subarray(0, 8)
const cut = sum => sum.readBigUInt64BE() === 0n ? uint64(1) : sum.subarray(0, 8)
export const hashOf = d => cut(sha256(uint64(d.time), uint64(Buffer.byteLength(d.key)), d.key, d.author, d.signature))

/** The digest of a set of documents, 8 bytes. */
export function digest (documents) {
  const entries = documents.map(d => ({ place: placeOf(d), hash: hashOf(d) }))
  entries.sort((a, b) => Buffer.compare(a.place, b.place) || Buffer.compare(a.hash, b.hash))
  return subtree(entries, 0)
}

function subtree (entries, depth) {
  if (entries.length === 0) return uint64(0)
  if (entries.length <= 8 || depth === 16) {
    return cut(sha256([0], ...entries.flatMap(e => [e.place, e.hash])))
  }
  const digit = e => e.place[depth >> 1] >> (depth % 2 === 0 ? 4 : 0) & 15
  const kids = Array.from({ length: 16 }, (_, i) => subtree(entries.filter(e => digit(e) === i), depth + 1))
  return cut(sha256([1], ...kids))
}

/** What is trusted because of the documents, as far as this peer needs to know. */
export function evaluate (network, documents) {
  for (const d of documents) {
    if (!documentHolds(network, d)) throw new Error(`document ${d.key}: the signature does not hold`)
  }
  const of = kind => documents.filter(d => d.key.startsWith(kind + '/') && !d.deleted)
  const { name, roots } = proveChain(network, of('network')[0].value.toString())
  const signers = of('signer').filter(d => roots.includes(peerID(d.author))).map(d => d.key.split('/')[1])
  const gone = new Set([...of('revoked'), ...of('left')].map(d => d.key.split('/')[1]))
  const members = new Map(of('member').filter(d => signers.includes(peerID(d.author)))
    .map(d => [d.key.split('/')[1], yaml(d.value)]).filter(([id]) => !gone.has(id)))
  return { name, signers, members }
}
