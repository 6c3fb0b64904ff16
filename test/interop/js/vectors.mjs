// Checks the golden vectors in wire/testdata: that each holds, and that none does
// with a byte changed.
//
//   node --import ./polyfill.mjs vectors.mjs --wire DIR
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { PrivateKey, base32, concat, equal, gossipTopic, networkOf, networkShort, networkText, peerID, rpcProtocol, uint64, verifies } from './keys.mjs'
import { digest, documentHolds, keyOf, load, openCertificate, proveChain, proveJoin, readToken } from './messages.mjs'

const { values: args } = parseArgs({ options: { wire: { type: 'string' } } })
const wire = load(args.wire)
const hex = text => Buffer.from(text ?? '', 'hex')
const read = name => JSON.parse(readFileSync(path.join(args.wire, 'testdata', name + '.json'), 'utf8'))

/** The bytes with the lowest bit of one changed. */
function bent (bytes, at = bytes.length >> 1) {
  const out = Buffer.from(bytes)
  out[at] ^= 1
  return out
}

/** Whether f returns without an error and not false. */
function holds (f) {
  try {
    return f() !== false
  } catch {
    return false
  }
}

function document (v) {
  return { key: v.key, value: Buffer.from(v.value), time: v.time, deleted: v.deleted, author: hex(v.author), signature: hex(v.signature) }
}

function certificate (v) {
  return { body: hex(v.body), signer: hex(v.signer), signature: hex(v.signature) }
}

const documents = read('documents')
const network = hex(read('networks')[0].id)

// Of each kind: what must hold of a vector, and ways to forge it of which none may.
const checks = {
  keys: {
    good: v => equal(new PrivateKey(hex(v.seed)).public, hex(v.public)) && peerID(hex(v.public)) === v.text && equal(keyOf(v.text), hex(v.public)),
    forged: []
  },
  networks: {
    good: v => {
      const id = networkOf(hex(v.root))
      return equal(id, hex(v.id)) && networkText(id) === v.text && networkShort(id) === v.short && rpcProtocol(id) === v.rpc_protocol && gossipTopic(id) === v.gossip_topic
    },
    forged: []
  },
  signatures: {
    good: v => verifies(hex(v.public), v.context, hex(v.network), hex(v.message), hex(v.signature)),
    forged: [
      v => verifies(hex(v.public), v.context + ' ', hex(v.network), hex(v.message), hex(v.signature)),
      v => verifies(hex(v.public), v.context, bent(hex(v.network)), hex(v.message), hex(v.signature)),
      v => verifies(hex(v.public), v.context, hex(v.network), concat(hex(v.message), [0]), hex(v.signature))
    ]
  },
  chains: {
    good: v => {
      const { roots } = proveChain(hex(v.network), v.document)
      return roots.join() === v.roots.join()
    },
    forged: [
      v => proveChain(bent(hex(v.network)), v.document),
      v => proveChain(hex(v.network), v.document.replace(/30:00\.123Z\n( +roots)/, '30:00.124Z\n$1')),
      v => proveChain(hex(v.network), v.document.replace(/signature: ./, m => m.slice(0, -1) + (m.endsWith('A') ? 'B' : 'A')))
    ]
  },
  documents: {
    good: v => documentHolds(network, document(v)),
    forged: [
      v => documentHolds(bent(network), document(v)),
      v => documentHolds(network, document({ ...v, key: v.key + 'x' })),
      v => documentHolds(network, document({ ...v, value: v.value + ' ' })),
      v => documentHolds(network, document({ ...v, time: String(BigInt(v.time) + 1n) })),
      v => documentHolds(network, document({ ...v, deleted: !v.deleted }))
    ]
  },
  digests: {
    good: v => equal(concat(uint64(0), digest(documents.slice(0, v.count).map(document))), hex(v.root)),
    forged: [v => equal(digest(documents.slice(0, v.count + 1).map(document)), hex(v.root).subarray(8)) && v.count < documents.length]
  },
  certificates: {
    good: v => {
      const body = openCertificate(wire, hex(v.network), certificate(v))
      return equal(body.key, hex(v.key)) && body.name === v.name && body.role === v.role && body.serial === v.serial &&
        body.notBeforeMs === v.not_before_ms && body.notAfterMs === v.not_after_ms &&
        JSON.stringify(body.labels) === JSON.stringify(v.labels ?? {})
    },
    forged: [
      v => openCertificate(wire, hex(v.network), { ...certificate(v), body: bent(hex(v.body), hex(v.body).length - 1) }),
      v => openCertificate(wire, hex(v.network), { ...certificate(v), signer: hex(v.key) })
    ]
  },
  tokens: {
    good: v => {
      const t = readToken(wire, v.line)
      return equal(t.network, hex(v.network)) && equal(t.guestSeed, hex(v.guest_seed)) && t.role === v.role && t.expiresMs === v.expires_ms &&
        t.bootstrap.every((b, i) => equal(b.key, hex(v.islands[i].key)) && b.addresses.every((a, j) => equal(a, hex(v.islands[i].addresses[j])))) &&
        base32(hex(v.network)).length === 52
    },
    forged: [
      v => readToken(wire, v.line.slice(0, -8)),
      v => readToken(wire, v.line.slice(0, 40) + (v.line[40] === 'a' ? 'b' : 'a') + v.line.slice(41))
    ]
  },
  joins: {
    good: v => {
      const key = seed => seed ? new PrivateKey(hex(seed)) : null
      const request = proveJoin(hex(v.network), key(v.guest_seed), key(v.node_seed), key(v.signer_seed), {
        nodeKey: key(v.node_seed).public,
        signerKey: key(v.signer_seed)?.public ?? Buffer.alloc(0),
        name: v.name,
        labels: v.labels,
        version: v.version
      })
      const published = wire.JoinRequest.decode(hex(v.request))
      return equal(request.proof, hex(v.proof)) && equal(published.proof, request.proof) && equal(published.nodeKey, request.nodeKey)
    },
    forged: []
  }
}

for (const [step, { good, forged }] of Object.entries(checks)) {
  const vectors = read(step)
  const bad = vectors.filter(v => !holds(() => good(v)))
  if (bad.length > 0) {
    console.error(`${step}: does not hold: ${JSON.stringify(bad[0])}`)
    process.exit(1)
  }
  const forgeries = vectors.flatMap(v => forged.filter(f => holds(() => f(v))))
  console.log(JSON.stringify({ step, good: vectors.length, forged: forgeries.length, example: forgeries[0]?.toString() }))
}
