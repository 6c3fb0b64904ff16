// Package journal keeps on disk what aggregation needs to go on exactly after a
// kill -9: a checkpoint of the state, and a journal of what came since.
//
// In: frames, each what one batch of samples was; checkpoints, written by the
// caller. Out: after a restart the newest whole checkpoint, then every frame since.
// Guaranteed:
//   - A frame for which Append returned nil is replayed after the process died at
//     any instant (a power cut may cost the last seconds).
//   - A checkpoint is there whole or not at all. Frames are removed only when a
//     checkpoint that covers them is.
//   - A torn tail is cut off; damage costs the rest of one segment, never the
//     others. Both are counted.
//   - A full disk, or a journal over its bound, stops nothing: Append and
//     WriteCheckpoint return an error, a warning holds, and the first that works
//     again ends it. What was not written would be lost in a crash, and only then.
//
// How a checkpoint is taken: Rotate, under whatever keeps frames and state
// together, begins a segment and names it; then WriteCheckpoint with that name, at
// leisure. LoadCheckpoint returns the name, from which Replay goes on.
package journal
