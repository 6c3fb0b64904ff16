// A peer of the mesh. What it does and hears goes to standard output, one JSON
// object a line; the end of standard input ends it.
//
//   node --import ./polyfill.mjs peer.mjs visit --wire DIR --token TOKEN --name NAME
//   node --import ./polyfill.mjs peer.mjs guest --wire DIR --token TOKEN
//   node --import ./polyfill.mjs peer.mjs stranger --wire DIR --token TOKEN
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { multiaddr } from '@multiformats/multiaddr'
import { lpStream } from '@libp2p/utils'
import { decompress } from 'fzstd'
import { PrivateKey, concat, equal, gossipTopic, networkShort, peerID, rpcProtocol, uint64 } from './keys.mjs'
import { digest, documentHolds, evaluate, hashOf, isTrust, load, newDocument, openCertificate, proveJoin, readToken, version } from './messages.mjs'
import { guestNode, memberNode } from './node.mjs'
import { Client, exchange, timeout } from './streams.mjs'

const { values: args, positionals: [command] } = parseArgs({
  allowPositionals: true,
  options: { wire: { type: 'string' }, token: { type: 'string' }, name: { type: 'string', default: '' } }
})
const wire = load(args.wire)
const token = readToken(wire, args.token)
const network = token.network
const newKey = () => new PrivateKey(randomBytes(32))
const say = (step, fields) => process.stdout.write(JSON.stringify({ step, ...fields }) + '\n')
const hungUp = new Promise(resolve => { process.stdin.resume().on('end', resolve).on('close', resolve) })

/** The TCP addresses of the islands in the token. */
const addresses = () => token.bootstrap.flatMap(b => b.addresses.map(a => multiaddr(a))
  .filter(a => /\/tcp\/\d+$/.test(a.toString()))
  .map(a => a.encapsulate('/p2p/' + peerID(b.key))))

const known = ['/ipfs/ping/1.0.0', '/ipfs/id/1.0.0', '/atoll/hello/1', '/atoll/join/1', rpcProtocol(network), '/meshsub/1.1.0',
  `/atoll/${networkShort(network)}/kad/1.0.0`]

/** Tries every protocol; returns those that a stream was opened for. */
async function knockEverywhere (node, protocols) {
  const opened = []
  const errors = []
  let connection
  try {
    connection = await node.dial(addresses()[0], timeout())
  } catch (err) {
    return { connected: false, opened, errors: [String(err?.message ?? err)] }
  }
  for (const p of protocols) {
    try {
      const s = await connection.newStream(p, { signal: AbortSignal.timeout(3000) })
      opened.push(p)
      s.abort(new Error('enough'))
    } catch (err) {
      errors.push(`${p}: ${err?.message ?? err}`)
    }
  }
  const closed = connection.status !== 'open'
  return { connected: true, closed, opened, errors }
}

async function join (node, guest, nodeKey) {
  const connection = await node.dial(addresses()[0], timeout())
  const request = proveJoin(network, guest, nodeKey, null, {
    nodeKey: nodeKey.public, name: args.name, labels: {}, version, signerKey: Buffer.alloc(0)
  })
  const stream = await connection.newStream('/atoll/join/1', timeout())
  return wire.JoinResponse.decode(await exchange(stream, wire.JoinRequest.encode(request), 8 << 20))
}

async function stranger () {
  const node = await guestNode(newKey())
  say('stranger', await knockEverywhere(node, known))
  await node.stop()
}

/** Shows that a guest gets nothing but the join protocol, and that a used invitation says so. */
async function guest () {
  const key = new PrivateKey(token.guestSeed)
  let node = await guestNode(key)
  say('guest', await knockEverywhere(node, known.filter(p => p !== '/atoll/join/1')))
  await node.stop()
  node = await guestNode(key)
  say('again', { refusal: (await join(node, key, newKey())).refusal })
  await node.stop()
}

async function visit () {
  const key = newKey()
  const guestKey = new PrivateKey(token.guestSeed)
  const knocking = await guestNode(guestKey)
  const admitted = await join(knocking, guestKey, key)
  await knocking.stop()
  if (admitted.refusal) throw new Error('refused: ' + admitted.refusal)
  const certificate = openCertificate(wire, network, admitted.certificate)
  if (!equal(certificate.key, key.public)) throw new Error('the certificate is for another key')
  const trusted = evaluate(network, admitted.documents)
  if (!trusted.signers.includes(peerID(admitted.certificate.signer))) throw new Error('the certificate is by no signer')
  say('join', {
    network: networkShort(network), networkName: trusted.name, peer: peerID(key.public), name: certificate.name, role: certificate.role,
    members: [...trusted.members.values()].map(m => m.name).sort(), documents: admitted.documents.length
  })
  const before = new Member(key, admitted.certificate)
  await before.live()
  const after = await before.rekey()
  await before.node.stop()
  await after.connect()
  await hungUp
  await after.node.stop()
}

class Member {
  constructor (key, certificate) {
    this.key = key
    this.certificate = certificate
  }

  /** Connects, and says hello as who dialled does. */
  async connect () {
    this.node = await memberNode(this.key, network)
    await this.node.handle('/atoll/hello/1', s => this.answerHello(s))
    this.listen()
    this.identified = new Promise(resolve => this.node.addEventListener('peer:identify', e => resolve(e.detail), { once: true }))
    this.connection = await this.node.dial(addresses(), timeout())
    return await this.sayHello()
  }

  async live () {
    const hello = await this.connect()
    say('ping', { ms: await this.node.services.ping.ping(this.connection.remotePeer) })
    const { agentVersion, protocols } = await this.identified
    say('identify', { agent: agentVersion, protocols: protocols.sort() })
    await this.calls(hello)
    await this.gossip()
  }

  hello () {
    return wire.Hello.encode({
      certificate: this.certificate, version, oldest: version, software: 'atoll-interop js', timeMs: Date.now(),
      observed: this.connection ? this.connection.remoteAddr.decapsulateCode(421).bytes : new Uint8Array()
    })
  }

  /** Who dialled says hello first. */
  async sayHello () {
    const stream = await this.connection.newStream('/atoll/hello/1', timeout())
    const answer = wire.Hello.decode(await exchange(stream, this.hello(), 64 << 10))
    await stream.close(timeout())
    if (answer.refusal) throw new Error('refused: ' + answer.refusal)
    const body = openCertificate(wire, network, answer.certificate)
    if (peerID(body.key) !== this.connection.remotePeer.toString()) throw new Error('hello: the certificate is for another key')
    say('hello', {
      software: answer.software, version: answer.version, island: body.name, role: body.role,
      skewMs: Math.abs(Number(answer.timeMs) - Date.now()), observed: multiaddr(answer.observed).toString(), replicaRoot: answer.replicaRoot.toString('hex')
    })
    return answer
  }

  /** A hello that is said again, because the other side's certificate changed. */
  async answerHello (stream) {
    const messages = lpStream(stream, { maxDataLength: 64 << 10 })
    const hello = wire.Hello.decode((await messages.read(timeout())).subarray())
    await messages.write(this.hello(), timeout())
    const body = openCertificate(wire, network, hello.certificate)
    say('greeted', { island: body.name, refusal: hello.refusal })
    await stream.close(timeout())
  }

  async client () { return new Client(await this.connection.newStream(rpcProtocol(network), timeout())) }

  async calls (hello) {
    const client = await this.client()
    await this.sync(client, hello)
    const renewed = await client.unary('/atoll.mesh.v1.Membership/Renew', wire.RenewRequest.encode({}))
    this.certificate = wire.RenewResponse.decode(renewed.response).certificate
    const body = openCertificate(wire, network, this.certificate)
    say('renew', { status: renewed.status, version: renewed.version, forMe: equal(body.key, this.key.public) })
    const forged = await client.unary('/atoll.mesh.v1.Membership/Rekey', this.rekeyRequest(newKey(), 'atoll join'))
    const unknown = await client.unary('/atoll.mesh.v1.Membership/Dissolve', Buffer.alloc(0))
    say('denied', { forged: forged.status, why: forged.message, unknown: unknown.status })
    client.close()
  }

  rekeyRequest (next, context) {
    return wire.RekeyRequest.encode({ newKey: next.public, proof: next.sign(context, network, this.key.public) })
  }

  /** Takes a new node key: the member of that key. */
  async rekey () {
    const next = newKey()
    const client = await this.client()
    const { response, status } = await client.unary('/atoll.mesh.v1.Membership/Rekey', this.rekeyRequest(next, 'atoll rekey'))
    client.close()
    const { certificate } = wire.RekeyResponse.decode(response)
    const body = openCertificate(wire, network, certificate)
    say('rekey', { status, peer: peerID(next.public), forNext: equal(body.key, next.public) })
    return new Member(next, certificate)
  }

  /** Fetches all documents, computes what the other side says about them, and sends two. */
  async sync (client, hello) {
    const call = client.begin('/atoll.replica.v1.Replica/Sync')
    const empty = { digest: 0, documents: 0 }
    call.send(wire.SyncRequest.encode({ open: { trust: empty, other: empty, fill: true } }))
    const documents = []
    let welcome
    for (let last = false; !last;) {
      const m = wire.SyncResponse.decode(await call.next())
      last = m.last
      if (m.welcome) welcome = m.welcome
      if (m.documents) {
        // The packed form is not negotiated: whoever syncs must unpack zstd.
        const raw = m.documents.zstd.length > 0 ? Buffer.from(decompress(m.documents.zstd)) : m.documents.plain
        documents.push(...wire.Documents.decode(raw).documents)
      }
    }
    const mine = newDocument(network, this.key, 'silence/from-js', 'matchers: []\n', BigInt(Date.now()) << 16n)
    const policy = newDocument(network, this.key, 'policy/main', 'permit (principal, action, resource);\n', BigInt(Date.now()) << 16n)
    call.send(wire.SyncRequest.encode({ push: { plain: wire.Documents.encode({ documents: [mine, policy] }) } }))
    const { stored } = wire.SyncResponse.decode(await call.next())
    call.end()
    const { status } = await call.done()
    const own = { trust: digest(documents.filter(isTrust)), other: digest(documents.filter(d => !isTrust(d))) }
    say('sync', {
      status,
      documents: documents.map(d => d.key).sort(),
      signatures: documents.every(d => documentHolds(network, d)),
      digests: equal(own.trust, uint64(welcome.trust.digest)) && equal(own.other, uint64(welcome.other?.digest ?? 0)),
      root: equal(concat(own.trust, own.other), hello.replicaRoot),
      stored: stored.stored,
      refused: equal(stored.refused, hashOf(policy))
    })
  }

  listen () {
    const { gossipsub } = this.node.services
    const topic = gossipTopic(network)
    gossipsub.subscribe(topic)
    this.heard = new Promise(resolve => gossipsub.addEventListener('message', e => {
      if (e.detail.topic !== topic) return
      const d = wire.Hint.decode(e.detail.data).documents.find(d => d.key.startsWith('dashboard/'))
      if (d) resolve({ from: e.detail.from.toString(), key: d.key, value: d.value.toString(), holds: documentHolds(network, d) })
    }))
  }

  /** Waits for the other side's subscription, hears an announcement, makes one. */
  async gossip () {
    const { gossipsub } = this.node.services
    const topic = gossipTopic(network)
    const until = performance.now() + 15_000
    while (gossipsub.getSubscribers(topic).length === 0) {
      if (performance.now() > until) throw new Error('no subscriber of ' + topic)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    say('listening', { topic })
    say('heard', await this.heard)
    const d = newDocument(network, this.key, 'dashboard/from-js', 'title: drawn by a foreigner\n', BigInt(Date.now()) << 16n)
    const { recipients } = await gossipsub.publish(topic, wire.Hint.encode({ documents: [d] }))
    say('told', { key: d.key, hash: hashOf(d).toString('hex'), recipients: recipients.length })
  }
}

try {
  await { visit, guest, stranger }[command]()
  process.exit(0) // libp2p leaves timers behind
} catch (err) {
  say('error', { message: String(err?.stack ?? err) })
  process.exit(1)
}
