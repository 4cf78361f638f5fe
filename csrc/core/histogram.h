/* SPDX-License-Identifier: MIT
 *
 * histogram.h: how many events took how long.
 *
 * The buckets are fixed, so that the histograms of all caches, workers and machines can be added,
 * and Prometheus can estimate quantiles of the sum. Counting is a function in C because it is part
 * of a miss: in Lua the search for the bucket would branch, and LuaJIT would compile the rest of
 * the miss again for each bucket.
 */
#ifndef PERIGEE_HISTOGRAM_H
#define PERIGEE_HISTOGRAM_H

#include "base/base.h"

/* ffi: begin */
enum { PERIGEE_HISTOGRAM_BUCKETS = 15 };

/* A histogram of seconds; all zero is an empty one. Owned by whoever has it. */
typedef struct perigee_histogram {
  double sum;                               /* of the events, seconds */
  double counts[PERIGEE_HISTOGRAM_BUCKETS]; /* of each bucket alone, not of those below it */
} perigee_histogram;

/* perigee_histogram_bound: the most seconds that bucket `i` counts; of the last one infinite. */
double perigee_histogram_bound(int32_t i);

/* perigee_histogram_observe: counts an event. Less than no time, and a NaN, are no time. */
void perigee_histogram_observe(perigee_histogram *histogram, double seconds);
/* ffi: end */

#endif
