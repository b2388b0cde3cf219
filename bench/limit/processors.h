// Threads of the limit program that stay on a processor and go before all others there.
#ifndef BENCH_LIMIT_PROCESSORS_H_
#define BENCH_LIMIT_PROCESSORS_H_

#include <vector>

// Those that this program may run on.
std::vector<int> Processors();

// Has the calling thread run there, with a real-time priority: it must sleep most of the time.
void StayOn(int processor);

double NowMs();  // of CLOCK_MONOTONIC

// Sleeps until then, of CLOCK_MONOTONIC.
void SleepUntilMs(double ms);

#endif  // BENCH_LIMIT_PROCESSORS_H_
