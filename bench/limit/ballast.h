// Memory that is held between what is measured, since the host would take it back if it were free
// (memory.h), and lent meanwhile.
#ifndef BENCH_LIMIT_BALLAST_H_
#define BENCH_LIMIT_BALLAST_H_

// Does what each line of standard input says, until that ends, and answers with a line
// `done`:
//   hold BYTES  takes memory, or gives it back, until it holds that much
//   lend BYTES  from now on frees so much of what it holds, piece by piece, as others use more
//               memory; until the next line
void KeepBallast();

#endif  // BENCH_LIMIT_BALLAST_H_
