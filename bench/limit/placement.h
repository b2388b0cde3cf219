// The host of a virtual machine runs its two processors wherever there is room: on two cores that
// share a third-level cache; on cores that do not, and whatever one of them has written takes
// several times as long to reach the other; or both on one core, which each has half of then. The
// machine is told nothing of it.
#ifndef BENCH_LIMIT_PLACEMENT_H_
#define BENCH_LIMIT_PLACEMENT_H_

// Looks every 10 ms, by a thread on each of the two processors with a real-time priority, how long
// a cache line takes there and back, and how long a loop of additions takes that both run at once.
// Does what the lines of standard input say, until that ends, and answers each with a line of JSON:
//   settle   looks until the processors have been side by side for a while, at most two seconds
//   watch    looks from now on
//   stop     no longer: `{"looks":120,"far":3,"together":0,"nearestNs":65}` of this watch; `far`
//            are those with more than two and a half times the journey that one in a hundred so
//            far was shorter than, `together` those in which the loop took more than one and a half
//            times its shortest time
// Fails where there are not just two processors, or no such priority is given.
void WatchPlacement();

#endif  // BENCH_LIMIT_PLACEMENT_H_
