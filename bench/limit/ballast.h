// Memory that is held between what is measured, since the host would take it back if it were free
// (memory.h), and given back right before it is needed.
#ifndef BENCH_LIMIT_BALLAST_H_
#define BENCH_LIMIT_BALLAST_H_

// Does what each line of standard input says, until that ends, and answers with a line
// `held`:
//   hold BYTES  takes memory, or gives it back, until it holds that much
void KeepBallast();

#endif  // BENCH_LIMIT_BALLAST_H_
