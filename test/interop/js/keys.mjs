// Keys, names and signatures. Written from docs/protocol.md alone.
import { createHash, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'

export const concat = (...parts) => Buffer.concat(parts.map(p => Buffer.from(p)))
export const sha256 = (...parts) => createHash('sha256').update(concat(...parts)).digest()
export const equal = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0

export function uint32 (n) {
  const b = Buffer.alloc(4)
  b.writeUInt32BE(n)
  return b
}

export function uint64 (n) {
  const b = Buffer.alloc(8)
  b.writeBigUInt64BE(BigInt.asUintN(64, BigInt(n)))
  return b
}

export function uvarint (n) {
  const out = []
  for (; n >= 0x80; n = Math.floor(n / 128)) out.push((n % 128) | 0x80)
  out.push(n)
  return Buffer.from(out)
}

/** Reads an unsigned varint: its value and how many bytes it took. */
export function readUvarint (b) {
  let value = 0
  for (let i = 0, factor = 1; i < b.length && i < 7; i++, factor *= 128) {
    value += (b[i] & 0x7f) * factor
    if (b[i] < 0x80) return [value, i + 1]
  }
  throw new Error('varint: cut short or too large')
}

const digits58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const digits32 = 'abcdefghijklmnopqrstuvwxyz234567'

export function base58 (bytes) {
  let n = BigInt('0x' + Buffer.from(bytes).toString('hex'))
  let out = ''
  for (; n > 0n; n /= 58n) out = digits58[Number(n % 58n)] + out
  for (const b of bytes) {
    if (b !== 0) break
    out = '1' + out
  }
  return out
}

export function base32 (bytes) {
  let out = ''
  let bits = 0
  let held = 0
  for (const b of bytes) {
    held = (held << 8 | b) & 0xfff
    for (bits += 8; bits >= 5; bits -= 5) out += digits32[held >> (bits - 5) & 31]
  }
  return bits > 0 ? out + digits32[held << (5 - bits) & 31] : out
}

export function unbase32 (text) {
  const out = []
  let bits = 0
  let held = 0
  for (const c of text) {
    const v = digits32.indexOf(c)
    if (v < 0) throw new Error(`base32: ${c} is no digit`)
    held = (held << 5 | v) & 0xfff
    if ((bits += 5) >= 8) out.push(held >> (bits -= 8) & 255)
  }
  return Buffer.from(out)
}

const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const spki = Buffer.from('302a300506032b6570032100', 'hex')

/** What is really signed: the context's length and text, the network, the message. */
export const signedBytes = (context, network, message) =>
  concat([context.length], Buffer.from(context), network, message)

export function verifies (key, context, network, message, signature) {
  if (key.length !== 32 || signature.length !== 64) return false
  const k = createPublicKey({ key: concat(spki, key), format: 'der', type: 'spki' })
  return verify(null, signedBytes(context, network, message), k, signature)
}

/** A private key from its 32 bytes of seed. */
export class PrivateKey {
  constructor (seed) {
    this.seed = Buffer.from(seed)
    this.key = createPrivateKey({ key: concat(pkcs8, this.seed), format: 'der', type: 'pkcs8' })
    this.public = createPublicKey(this.key).export({ format: 'der', type: 'spki' }).subarray(-32)
  }

  sign (context, network, message) {
    return sign(null, signedBytes(context, network, message), this.key)
  }

  /** Seed and public key, as libp2p takes them. */
  get raw () { return concat(this.seed, this.public) }
}

/** The peer ID of an ed25519 key, as text. */
export const peerID = key => base58(concat([0x00, 0x24, 0x08, 0x01, 0x12, 0x20], key))

export const networkOf = root => sha256('atoll network\n', root)
export const networkText = network => base32(network)
export const networkShort = network => base32(network).slice(0, 8)
export const rpcProtocol = network => `/atoll/${networkShort(network)}/rpc/1`
export const gossipTopic = network => `/atoll/${networkShort(network)}/changes/1`
