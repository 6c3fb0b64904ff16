// Messages and gRPC over libp2p streams.
import http2 from 'node:http2'
import { Duplex } from 'node:stream'
import { lpStream } from '@libp2p/utils'
import { concat, uint32 } from './keys.mjs'
import { version } from './messages.mjs'

export const timeout = () => ({ signal: AbortSignal.timeout(10_000) })

/** One length-delimited message there, one back. */
export async function exchange (stream, request, limit) {
  const messages = lpStream(stream, { maxDataLength: limit })
  await messages.write(request, timeout())
  return (await messages.read(timeout())).subarray()
}

/** A libp2p stream as one of Node's. */
export function duplex (stream) {
  const out = new Duplex({
    read: () => { if (stream.readStatus === 'paused') stream.resume() },
    write: (chunk, _, done) => {
      try {
        if (stream.send(Uint8Array.from(chunk))) return done()
      } catch (err) {
        return done(err)
      }
      stream.onDrain(timeout()).then(() => done(), done)
    },
    final: done => { stream.close(timeout()).then(() => done(), done) },
    destroy: (err, done) => {
      if (stream.status === 'open') stream.abort(err ?? new Error('destroyed'))
      done(err)
    }
  })
  stream.addEventListener('message', e => { if (!out.push(Buffer.from(e.data.subarray()))) stream.pause() })
  stream.addEventListener('remoteCloseWrite', () => out.push(null))
  stream.addEventListener('close', e => e.error ? out.destroy(e.error) : out.push(null))
  return out
}

/** gRPC over one stream: HTTP/2 with prior knowledge, as over any connection. */
export class Client {
  constructor (stream) {
    this.session = http2.connect('http://atoll', { createConnection: () => duplex(stream) })
    this.failed = new Promise((_, reject) => this.session.on('error', reject))
    this.failed.catch(() => {})
  }

  begin (method) {
    const call = this.session.request({
      ':method': 'POST',
      ':path': method,
      'content-type': 'application/grpc+proto',
      te: 'trailers',
      'grpc-timeout': '10S',
      'atoll-version': String(version)
    })
    return new Call(call, this.failed)
  }

  async unary (method, request) {
    const call = this.begin(method)
    call.send(request)
    call.end()
    const { messages, status, message, version } = await call.done()
    return { response: messages[0], status, message, version }
  }

  close () { this.session.close() }
}

class Call {
  constructor (stream, failed) {
    this.stream = stream
    this.failed = failed
    this.messages = []
    this.waiting = null
    let held = Buffer.alloc(0)
    stream.on('data', chunk => {
      held = concat(held, chunk)
      while (held.length >= 5 && held.length >= 5 + held.readUInt32BE(1)) {
        const end = 5 + held.readUInt32BE(1)
        if (held[0] !== 0) return stream.destroy(new Error('compressed message: none was asked for'))
        this.messages.push(held.subarray(5, end))
        held = held.subarray(end)
        this.waiting?.()
      }
    })
    this.headers = {}
    stream.on('response', h => Object.assign(this.headers, h))
    stream.on('trailers', h => Object.assign(this.headers, h))
    this.ended = new Promise((resolve, reject) => {
      stream.on('end', resolve)
      stream.on('error', reject)
    })
    this.ended.catch(() => {})
  }

  send (message) { this.stream.write(concat([0], uint32(message.length), message)) }
  end () { this.stream.end() }

  /** The next message of the answer. */
  async next () {
    while (this.messages.length === 0) {
      const more = new Promise(resolve => { this.waiting = resolve })
      await Promise.race([more, this.failed, this.ended.then(() => { throw new Error('the call ended: ' + this.status().message) })])
    }
    return this.messages.shift()
  }

  status () {
    const h = this.headers
    return { status: Number(h['grpc-status'] ?? -1), message: decodeURIComponent(h['grpc-message'] ?? ''), version: Number(h['atoll-version'] ?? 0) }
  }

  async done () {
    await Promise.race([this.ended, this.failed])
    return { messages: this.messages, ...this.status() }
  }
}
