// This kind of machine may be a virtual one whose host stops all of its processors at once: 25 to
// 37 ms of every 100 ms while the machine, its disk included, has used more than its share. No
// program can be on time then, whatever it does.
#ifndef BENCH_LIMIT_STANDSTILL_H_
#define BENCH_LIMIT_STANDSTILL_H_

#include <string>

// Has a thread on each processor, of a priority above all ordinary programs, that sleeps for a
// millisecond at a time, until standard input ends. Returns when each of them was late:
// `"processors":[[[from,to],...],...]` in milliseconds of CLOCK_MONOTONIC.
std::string WatchForStandstills();

#endif  // BENCH_LIMIT_STANDSTILL_H_
