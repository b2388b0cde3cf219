// The stages of a layer that treat it as two streams of bytes: the blob and the tar inside.
#ifndef BENCH_LIMIT_STREAM_STAGES_H_
#define BENCH_LIMIT_STREAM_STAGES_H_

#include <string>

#include "file.h"
#include "stopwatch.h"

// Decompresses the blob into one small buffer again and again, as a pipeline would. Between the
// timed stretches each buffer is compared with the tar, so that the stage cannot have left anything
// out.
[[nodiscard]] Stopwatch MeasureGzip(Bytes blob, Bytes tar);
[[nodiscard]] Stopwatch MeasureZstd(Bytes blob, Bytes tar);

// SHA-256 of the bytes; `expected` is `sha256:…`.
[[nodiscard]] Stopwatch MeasureSha256(Bytes bytes, const std::string& expected);

// Writes the bytes into a new file, in pieces. Each piece is copied into one buffer before its
// timed write, so that the kernel reads it from the processor's cache: a good pipeline writes a
// piece right after it was made.
[[nodiscard]] Stopwatch MeasureWrite(Bytes bytes, const std::string& path);

#endif  // BENCH_LIMIT_STREAM_STAGES_H_
