// libp2p nodes: a guest, who only knocks, and a member.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { gossipTopic } from './keys.mjs'

const common = key => ({
  privateKey: privateKeyFromRaw(key.raw),
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false }
})

/** A node without a protocol of its own. */
export const guestNode = key => createLibp2p(common(key))

export const memberNode = (key, network) => createLibp2p({
  ...common(key),
  nodeInfo: { userAgent: 'atoll-interop js' },
  services: {
    identify: identify(),
    ping: ping(),
    gossipsub: gossipsub({
      globalSignaturePolicy: 'StrictSign',
      allowedTopics: [gossipTopic(network)],
      floodPublish: true,
      doPX: false
    })
  }
})
